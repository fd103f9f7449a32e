// The audit audited: mutants must die, correct backends must not be accused.
#include <algorithm>

#include "audit/cases/regime.hpp"
#include "audit/compare.hpp"
#include "audit/faults/fault.hpp"
#include "audit/session.hpp"

namespace sluice {
namespace auditing {

MutantVerdict judge_mutant(const Backend& inner, const Mutant& mutant, const AuditOptions& options,
                           CaseBank& bank) {
  MutantVerdict verdict;
  verdict.mutant = mutant.info;
  const auto faulty = decorate(inner, mutant);
  // The mutant's own class first: it is the quickest way to it, and the class must suffice.
  AuditOptions own = options;
  own.suite = std::string(1, mutant.info.bug_class);
  AuditReport report = run_session(*faulty, own, bank, true);
  if (report.ok()) {
    own.suite = "quick";
    report = run_session(*faulty, own, bank, true);
  }
  verdict.killed = !report.ok();
  if (verdict.killed) {
    const AuditFailure& failure = report.failures.front();
    verdict.killed_by = failure.check;
    if (!failure.regime.empty()) verdict.killed_by += ": " + failure.regime;
    verdict.field = failure.field;
    verdict.looks_like = failure.looks_like;
    return verdict;
  }
  // A mutant of a field that the backend does not claim changes nothing.
  const std::string_view field = field_of_mutant(mutant.info.name);
  verdict.applicable = mutant.applies != nullptr ? mutant.applies(inner)
                                                 : field.empty() || inner.claims().contains(field);
  return verdict;
}

}  // namespace auditing

int MutationScore::applicable() const {
  return static_cast<int>(std::count_if(mutants.begin(), mutants.end(),
                                        [](const MutantVerdict& m) { return m.applicable; }));
}

int MutationScore::killed() const {
  return static_cast<int>(std::count_if(mutants.begin(), mutants.end(),
                                        [](const MutantVerdict& m) { return m.killed; }));
}

MutationScore audit_mutants(const Backend& backend, const AuditOptions& given) {
  AuditOptions options = auditing::with_executor(given);
  options.replay_directory.clear();
  auditing::CaseBank bank(auditing::source_of(backend, options), options.allowances);
  MutationScore score;
  score.backend = backend.name();
  for (const auditing::Mutant& mutant : auditing::mutant_list()) {
    if (given.progress) given.progress(mutant.info.name);
    options.progress = nullptr;
    score.mutants.push_back(auditing::judge_mutant(backend, mutant, options, bank));
  }
  return score;
}

FalseAlarms count_false_alarms(const Backend& backend, std::uint64_t first_seed, std::int64_t seeds,
                               const AuditOptions& given) {
  const AuditOptions options = auditing::with_executor(given);
  const auditing::SpecSource source = auditing::source_of(backend, options);
  FalseAlarms alarms;
  alarms.backend = backend.name();
  auditing::RunOptions run;
  run.load = options.load;
  run.report =
      options.allowances.reports_routing ? auditing::Report::both : auditing::Report::nothing;
  run.before_call = options.before_call;
  for (std::int64_t i = 0; i < seeds; ++i) {
    const std::uint64_t seed = first_seed + static_cast<std::uint64_t>(i);
    ++alarms.seeds;
    for (const auditing::Regime& regime : auditing::regimes()) {
      if (regime.slow) continue;
      const auto subject = regime.make(source, seed);
      if (!subject) continue;
      ++alarms.cases;
      const auditing::Oracle oracle(*subject, {options.allowances.slot_outputs_rounded});
      const auto comparison =
          auditing::compare(*subject, oracle, auditing::run_case(backend, *subject, run),
                            {options.allowances.reports_routing, 0, false});
      if (comparison.ok()) {
        alarms.worst_use = std::max(alarms.worst_use, comparison.use);
        continue;
      }
      AuditFailure failure;
      failure.check = "exact";
      failure.regime = subject->regime;
      failure.seed = seed;
      failure.stage = comparison.stage;
      failure.message = comparison.message;
      failure.spec_json = print_spec(subject->spec);
      alarms.failures.push_back(std::move(failure));
    }
  }
  return alarms;
}

}  // namespace sluice
