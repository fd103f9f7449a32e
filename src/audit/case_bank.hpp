// Cases with their oracles, made once: audits of many mutants of one backend share them.
#pragma once

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>

#include <sluice/audit.hpp>

#include "audit/cases/regime.hpp"
#include "audit/oracle/layer.hpp"

namespace sluice::auditing {

struct Prepared {
  explicit Prepared(Case made, const OracleOptions& options)
      : subject(std::move(made)), oracle(subject, options) {}
  Case subject;
  Oracle oracle;  // refers to subject

  // About what it takes in memory: the tensors, and the oracle's weights in fp32.
  std::size_t bytes() const;
};
using PreparedPtr = std::shared_ptr<const Prepared>;

class CaseBank {
 public:
  // Cases are drawn for what `backend` claims and supports.
  CaseBank(SpecSource source, const AuditAllowances& allowances)
      : source_(std::move(source)), allowances_(allowances) {}

  // Null where the regime has nothing to draw.
  PreparedPtr of(const Regime& regime, std::uint64_t seed);
  PreparedPtr of(const std::string& key, const std::function<Case()>& make);
  // A case too large to be kept.
  PreparedPtr alone(Case made) const { return prepare(std::move(made)); }
  const Backend& backend() const { return source_.backend; }
  const SpecSource& source() const { return source_; }

 private:
  struct Kept {
    std::string key;
    PreparedPtr prepared;
  };
  PreparedPtr prepare(Case made) const;
  PreparedPtr keep(const std::string& key, PreparedPtr prepared);
  // Null if there is none; the case then counts as used last.
  const Kept* find(const std::string& key);

  SpecSource source_;
  AuditAllowances allowances_;
  // Hundreds of wide cases are more than memory holds: those used longest ago are made again.
  std::list<Kept> cases_;  // used last at the end
  std::map<std::string, std::list<Kept>::iterator, std::less<>> places_;
  std::size_t bytes_ = 0;
};

}  // namespace sluice::auditing
