#include <algorithm>

#include "loading.hpp"

namespace sluice::gpu {

void run_audit(const Settings& settings, Findings& findings) {
  AuditOptions options = audit_options(settings);
  options.suite = settings.brief ? std::string("quick") : settings.suite;
  options.rounds = settings.brief ? 1 : 0;
  const AuditReport report = audit(backend("cuda"), options);
  double worst_use = 0.0;
  std::int64_t cases = 0;
  for (const CheckReport& check : report.checks) {
    findings.expect(check.verdict != Verdict::fail, "check {}", check.name);
    worst_use = std::max(worst_use, check.worst_use);
    cases += check.cases;
  }
  int claimed = 0;
  for (const FieldReport& field : report.fields) {
    findings.expect(field.ok(), "field {}", field.field);
    claimed += field.claimed;
  }
  for (const AuditFailure& failure : report.failures) {
    findings.expect(false, "{} {} ({}, seed {}), stage {}: {} {}", failure.check, failure.field,
                    failure.regime, failure.seed, to_string(failure.stage), failure.message,
                    failure.looks_like);
  }
  findings.note("suite {}: {} cases, {} of {} fields claimed, worst use of a bound {:.3f}",
                report.suite, cases, claimed, report.fields.size(), worst_use);
}

void run_mutants(const Settings& settings, Findings& findings) {
  AuditOptions options = audit_options(settings);
  // Some mutants show in one draw of twenty; those that die, die at their first.
  options.rounds = 32;
  const MutationScore score = audit_mutants(backend("cuda"), options);
  for (const MutantVerdict& verdict : score.mutants) {
    findings.expect(verdict.killed || !verdict.applicable, "mutant {} survives",
                    verdict.mutant.name);
  }
  findings.note("{} of {} applicable mutants killed", score.killed(), score.applicable());
}

// A layer that rounds, audited as one that does not.
void run_rounding(const Settings& settings, Findings& findings) {
  Settings rounded = settings;
  rounded.round_slot_outputs = true;
  AuditOptions options = audit_options(rounded);
  options.allowances.slot_outputs_rounded = false;
  options.rounds = 1;
  options.diagnose = false;
  const AuditReport report = audit(backend("cuda"), options);
  findings.expect(!report.ok(), "the audit does not see that slot outputs are rounded");
  for (const AuditFailure& failure : report.failures) {
    const bool of_values = failure.stage == Stage::expert || failure.stage == Stage::combine;
    findings.expect(of_values, "{}: stage {}: {}", failure.check, to_string(failure.stage),
                    failure.message);
  }
  const auto failed = std::count_if(report.checks.begin(), report.checks.end(),
                                    [](const auto& c) { return c.verdict == Verdict::fail; });
  findings.note("{} of {} checks fail, as they must", failed, report.checks.size());
}

}  // namespace sluice::gpu
