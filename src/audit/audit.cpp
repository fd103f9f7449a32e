// audit(): runs the checks and turns what they find into a report.
#include <fmt/format.h>

#include <chrono>

#include "audit/checks/check.hpp"
#include "audit/diagnose/diagnose.hpp"
#include "audit/session.hpp"
#include "base/fail.hpp"
#include "base/given_executor.hpp"

namespace sluice {
namespace auditing {
namespace {

bool is_class(std::string_view suite) {
  return suite.size() == 1 && suite[0] >= 'A' && suite[0] <= 'Q';
}

constexpr int kQuickRounds = 3;
constexpr int kFullRounds = 16;
constexpr int kClassRounds = 8;

int rounds_of(const AuditOptions& options) {
  if (options.rounds > 0) return options.rounds;
  if (is_class(options.suite)) return kClassRounds;
  return options.suite == "full" ? kFullRounds : kQuickRounds;
}

// A report that says "pass" must have tested something.
void check_coverage(Context& context, const AuditReport& report) {
  for (const CheckReport& check : report.checks) {
    if (check.name != "refusals" && check.cases > 0) return;
  }
  context.report = nullptr;
  const Sizes sizes{8, 2, 128, 128};
  const Support support = negotiate(context.backend, neutral_spec(sizes));
  const std::string why =
      support.ok() ? ""
                   : fmt::format(
                         "; with every field neutral, {} experts, top_k {} and widths "
                         "of {}, {} {}",
                         sizes.experts, sizes.top_k, sizes.hidden, support.refusals.front().field,
                         support.refusals.front().reason);
  context.complain(nullptr, Stage::load,
                   fmt::format("nothing was tested: the backend takes none of the layers that this "
                               "suite can draw{}. Audit it with a spec that it takes (--spec)",
                               why),
                   'Q');
  context.findings.back().check = "coverage";
}

std::vector<CutWidth> cut_widths(const MoeSpec& given, const MoeSpec& audited) {
  std::vector<CutWidth> cut;
  for (const Field& field : fields()) {
    if (field.equal(given, audited)) continue;
    cut.push_back({std::string(field.name), field.value(given), field.value(audited)});
  }
  return cut;
}

}  // namespace

void check_options(const AuditOptions& options) {
  if (options.rounds < 0) {
    fail(ErrorKind::user, "rounds is {}; give 1 or more draws per check, or 0 for the suite's own",
         options.rounds);
  }
  if (options.suite == "quick" || options.suite == "full" || is_class(options.suite)) return;
  fail(ErrorKind::user, "no suite is named \"{}\"; there are quick, full, and the classes A … Q",
       options.suite);
}

AuditReport run_session(const Backend& backend, const AuditOptions& options, CaseBank& bank,
                        bool first_only) {
  const auto start = std::chrono::steady_clock::now();
  AuditReport report;
  report.backend = backend.name();
  report.suite = options.suite;
  report.seed = options.seed;
  if (options.spec && bank.source().given) {
    report.widths = cut_widths(*options.spec, *bank.source().given);
  }
  report.checks.reserve(checks().size());

  Context context{
      backend, options, {}, bank,   rounds_of(options), options.suite == "full", first_only,
      {},      {},      {}, nullptr};
  context.run.load = options.load;
  context.run.report = options.allowances.reports_routing ? Report::both : Report::nothing;
  context.run.before_call = options.before_call;
  for (const Check& check : checks()) {
    if (is_class(options.suite) && check.classes.find(options.suite[0]) == std::string_view::npos) {
      continue;
    }
    if (context.done()) break;
    if (options.progress) options.progress(check.name);
    CheckReport& row = report.checks.emplace_back();
    row.name = check.name;
    row.meaning = check.meaning;
    context.report = &row;
    check.run(context);
    if (row.verdict == Verdict::not_applicable && row.cases > 0) row.verdict = Verdict::pass;
  }
  if (!first_only) check_coverage(context, report);
  report.fields = std::move(context.fields);
  report.own_widths = std::move(context.own_widths);
  // One fault makes many findings; the first few explain it.
  constexpr std::size_t kExplained = 4;
  AuditOptions brief = options;
  brief.diagnose = false;
  const Diagnosis diagnosis(backend, options, context.run, context.compare_options());
  const Diagnosis summary(backend, brief, context.run, context.compare_options());
  for (const Finding& finding : context.findings) {
    const bool in_full = report.failures.size() < kExplained;
    report.failures.push_back((in_full ? diagnosis : summary).explain(finding));
  }
  mark_fields(report);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

AuditOptions with_executor(AuditOptions options) {
  options.load.executor = given_executor(options.load.executor);
  return options;
}

void require_available(const Backend& backend) {
  if (const auto reason = backend.unavailable()) {
    fail(ErrorKind::unsupported, "backend {} is not available here: {}", backend.name(), *reason);
  }
}

void require_accepted(const Backend& backend, const MoeSpec& spec, std::string_view what) {
  const Support support = negotiate(backend, spec);
  if (support.ok()) return;
  std::string reasons;
  for (const Refusal& refusal : support.refusals) {
    reasons += fmt::format("\n  {} {}", refusal.field, refusal.reason);
  }
  fail(ErrorKind::user, "backend {} refuses {}:{}", backend.name(), what, reasons);
}

SpecSource source_of(const Backend& backend, const AuditOptions& options) {
  if (!options.spec) return {backend, std::nullopt};
  validate(*options.spec);
  require_accepted(backend, *options.spec, "the spec to be audited at");
  const MoeSpec spec = with_small_widths(*options.spec);
  require_accepted(backend, spec, "the spec to be audited at, its widths cut");
  return {backend, spec};
}

}  // namespace auditing

std::string_view to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::pass:
      return "pass";
    case Verdict::fail:
      return "FAIL";
    case Verdict::not_claimed:
      return "not claimed";
    case Verdict::not_applicable:
      break;
  }
  return "-";
}

std::string_view to_string(Stage stage) {
  switch (stage) {
    case Stage::load:
      return "load";
    case Stage::ids:
      return "ids";
    case Stage::weights:
      return "weights";
    case Stage::expert:
      return "expert";
    case Stage::combine:
      return "combine";
    case Stage::memory:
      return "memory";
    case Stage::repeat:
      return "repeat";
    case Stage::none:
      break;
  }
  return "none";
}

AuditReport audit(const Backend& backend, const AuditOptions& given) {
  auditing::check_options(given);
  auditing::require_available(backend);
  const AuditOptions options = auditing::with_executor(given);
  auditing::CaseBank bank(auditing::source_of(backend, options), options.allowances);
  return auditing::run_session(backend, options, bank, false);
}

}  // namespace sluice
