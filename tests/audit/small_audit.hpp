// What the audit's tests share.
#pragma once

#include <sluice/audit.hpp>

#include "audit/cases/regime.hpp"
#include "audit/compare.hpp"
#include "audit/run_case.hpp"

namespace sluice::auditing {

inline RunOptions one_thread() {
  static const auto executor = make_executor(1);
  RunOptions run;
  run.load.executor = executor;
  return run;
}

inline AuditOptions quick_options() {
  AuditOptions options;
  options.load = one_thread().load;
  options.rounds = 2;
  return options;
}

inline const Regime& regime(std::string_view name) {
  for (const Regime& candidate : regimes()) {
    if (candidate.name == name) return candidate;
  }
  throw Error(ErrorKind::internal, "no such regime");
}

inline SpecSource drawn_for(const Backend& backend) { return {backend, std::nullopt}; }

inline Comparison judge(const Case& subject, const RunResult& result) {
  const Oracle oracle(subject);
  return compare(subject, oracle, result);
}

}  // namespace sluice::auditing
