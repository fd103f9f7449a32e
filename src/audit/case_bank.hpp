// Cases with their oracles, made once: audits of many mutants of one backend share them.
#pragma once

#include <functional>
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
  PreparedPtr prepare(Case made) const;

  SpecSource source_;
  AuditAllowances allowances_;
  std::map<std::string, PreparedPtr, std::less<>> cases_;
};

}  // namespace sluice::auditing
