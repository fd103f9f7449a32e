#include <sluice/audit.hpp>

#include "section.hpp"

namespace sluice::gpu {

void run_audit(const Settings& settings, Findings& findings) {
  AuditOptions options;
  options.suite = settings.brief ? std::string("quick") : settings.suite;
  options.seed = settings.seed;
  options.rounds = settings.brief ? 1 : 0;
  options.load.executor = make_executor(settings.threads);
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
  AuditOptions options;
  options.seed = settings.seed;
  // Some mutants show in one draw of twenty; those that die, die at their first.
  options.rounds = 32;
  options.load.executor = make_executor(settings.threads);
  const MutationScore score = audit_mutants(backend("cuda"), options);
  for (const MutantVerdict& verdict : score.mutants) {
    findings.expect(verdict.killed || !verdict.applicable, "mutant {} survives",
                    verdict.mutant.name);
  }
  findings.note("{} of {} applicable mutants killed", score.killed(), score.applicable());
}

}  // namespace sluice::gpu
