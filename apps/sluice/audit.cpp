// sluice audit: is a parameter lost? And would the audit notice?
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <sluice/audit.hpp>
#include <sluice/plugin_backend.hpp>

#include "at_least.hpp"
#include "audit/isolate.hpp"
#include "backends/asked_backend.hpp"
#include "base/fail.hpp"
#include "base/in_file.hpp"
#include "base/shell_word.hpp"
#include "number_checks.hpp"
#include "output/files.hpp"
#include "output/progress.hpp"
#include "refuse_beside.hpp"
#include "refuse_shared_files.hpp"
#include "spec_file.hpp"
#include "verb.hpp"
#include "writable.hpp"

namespace sluice::cli {
namespace {

using auditing::Reporter;

constexpr const char* kFooter =
    R"(Suites: quick (seconds), full (minutes), or one class of bugs of docs/lost-parameters.md:
  A factor   B shared experts   C routing method   D precision of bias and logits
  E activation constants   F weight on input   G expert parallelism   H expert biases
  I layout   J unwritten memory   K zero tokens   L sizes   M ties and NaN   N scales and formats
  O races   P chunk tails   Q silent substitution

Examples:
  sluice audit --backend cpu --suite full --html report.html
  sluice audit --plugin ./libmine.so --replay failures/
  sluice audit --backend cpu --inject drop:router.routed_scaling_factor   # watch it fail
  sluice audit --backend cpu --mutants                                   # the mutation score
  sluice audit --rate-test audit/rate-tests/vllm-repaired.json           # a test of somebody's

Exit status: 0 nothing lost, 1 something is, 2 bad usage.)";

struct Options {
  std::string backend;
  std::string plugin;
  std::string inject;
  std::string spec;
  std::string json;
  std::string html;
  std::string rate_test;
  AuditOptions audit;
  std::int64_t false_alarms = 0;
  int threads = 0;
  double time_limit = 600.0;
  bool mutants = false;
  bool list_mutants = false;
  bool no_routing = false;
};

// The backend named by the options, with what keeps it alive.
struct Subject {
  std::unique_ptr<Backend> plugin;
  std::unique_ptr<Backend> faulty;
  const Backend* backend = nullptr;
};

const Backend& fastest_available() {
  for (const Backend* candidate : backends()) {
    if (!candidate->unavailable()) return *candidate;
  }
  return *backends().back();
}

Subject subject_of(const Options& options) {
  Subject subject;
  if (!options.plugin.empty()) {
    subject.plugin = load_plugin(options.plugin);
    subject.backend = subject.plugin.get();
  } else {
    const std::string asked = asked_backend(options.backend);
    subject.backend = asked.empty() ? &fastest_available() : &backend(asked);
  }
  if (!options.inject.empty()) {
    subject.faulty = inject(*subject.backend, options.inject);
    subject.backend = subject.faulty.get();
  }
  return subject;
}

// The same subject for `sluice layer`.
std::string replay_with(const Options& options) {
  if (options.plugin.empty() && options.inject.empty()) return "";
  const std::string asked = asked_backend(options.backend);
  std::string with =
      options.plugin.empty()
          ? fmt::format("--backend {}", asked.empty() ? fastest_available().name() : asked)
          : "--plugin " + shell_word(options.plugin);
  if (!options.inject.empty()) with += " --inject " + shell_word(options.inject);
  return with;
}

AuditOptions audit_options(const Options& options) {
  AuditOptions audit = options.audit;
  if (!options.spec.empty()) audit.spec = read_spec(options.spec);
  audit.allowances.reports_routing = !options.no_routing;
  // What the bound allows, a backend that can round may do.
  audit.load.may_round_slot_outputs = audit.allowances.slot_outputs_rounded;
  audit.load.executor = make_executor(options.threads);
  audit.replay_with = replay_with(options);
  return audit;
}

void deliver(const Reporter& to, const std::string& path, const std::string& text) {
  if (path == "-") {
    to.print(text);
  } else if (!path.empty()) {
    write_text(path, text);
  }
}

int finish(const Options& options, const Reporter& to, const AuditReport& report) {
  if (options.json != "-" && options.html != "-") to.print(audit_text(report));
  deliver(to, options.json, audit_json(report));
  deliver(to, options.html, audit_html(report));
  return report.ok() ? kOk : kFoundProblem;
}

int run_audit(const Options& options, const Reporter& to) {
  AuditReport report;
  {
    // A plugin that crashes when it is unloaded does so before a verdict is printed.
    const Subject subject = subject_of(options);
    AuditOptions audit_with = audit_options(options);
    ProgressLine line("audit");
    audit_with.progress = [&](std::string_view check) {
      to.say(check);
      line.update(0, 1, std::string(check));
    };
    report = audit(*subject.backend, audit_with);
  }
  return finish(options, to, report);
}

int run_mutants(const Options& options, const Reporter& to) {
  MutationScore score;
  {
    const Subject subject = subject_of(options);
    AuditOptions audit_with = audit_options(options);
    ProgressLine line("mutants");
    double done = 0.0;
    audit_with.progress = [&](std::string_view mutant) {
      to.say(fmt::format("mutant {}", mutant));
      line.update(done++, static_cast<double>(mutants().size()), std::string(mutant));
    };
    score = audit_mutants(*subject.backend, audit_with);
  }
  if (options.json != "-") to.print(mutation_text(score));
  deliver(to, options.json, mutation_json(score));
  return score.killed() == score.applicable() ? kOk : kFoundProblem;
}

int run_false_alarms(const Options& options, const Reporter& to) {
  FalseAlarms all;
  {
    const Subject subject = subject_of(options);
    const AuditOptions audit_with = audit_options(options);
    ProgressLine line("seeds");
    to.say("exact");
    for (std::int64_t i = 0; i < options.false_alarms; ++i) {
      line.update(static_cast<double>(i), static_cast<double>(options.false_alarms));
      const FalseAlarms one = count_false_alarms(
          *subject.backend, audit_with.seed + static_cast<std::uint64_t>(i), 1, audit_with);
      all.backend = one.backend;
      ++all.seeds;
      all.cases += one.cases;
      all.worst_use = std::max(all.worst_use, one.worst_use);
      all.failures.insert(all.failures.end(), one.failures.begin(), one.failures.end());
    }
  }
  if (options.json != "-") to.print(false_alarms_text(all));
  deliver(to, options.json, false_alarms_json(all));
  return all.failures.empty() ? kOk : kFoundProblem;
}

int run_here(const Options& options, const Reporter& to) {
  if (options.mutants) return run_mutants(options, to);
  if (options.false_alarms > 0) return run_false_alarms(options, to);
  return run_audit(options, to);
}

void print(std::string_view text) { fmt::print("{}", text); }

// A plugin's code is somebody else's: it runs in a child.
int run_plugin(const Options& options) {
  const auto outcome = auditing::run_isolated(
      [&](const Reporter& to) { return run_here(options, to); }, options.time_limit);
  if (outcome.finished) return outcome.exit_code;
  AuditReport report;
  report.backend = options.plugin;
  report.suite = options.audit.suite;
  report.seed = options.audit.seed;
  AuditFailure& failure = report.failures.emplace_back();
  failure.check = outcome.during.empty() ? "load" : outcome.during;
  failure.bug_class = 'O';
  failure.stage = outcome.during.empty() ? Stage::load : Stage::memory;
  failure.message = fmt::format(
      "the plugin {} during the check \"{}\"; it ran in a child process, "
      "so the audit itself goes on. --suite with one class narrows it "
      "down",
      outcome.what, failure.check);
  return finish(options, {{}, print}, report);
}

// Text and JSON of what is no audit of a backend.
int show(const Options& options, const std::string& text, const std::string& json) {
  if (options.json != "-") print(text);
  deliver({{}, print}, options.json, json);
  return kOk;
}

// Each mode uses some of the options.
void check_options(const CLI::App& app) {
  refuse_beside(app, "--mutants",
                {"--backend", "--plugin", "--inject", "--spec", "--seed", "--rounds", "--json",
                 "--slot-outputs-rounded", "--no-routing", "--time-limit", "--threads"},
                "a mutant is audited with the suite of its class and then with quick, and a score "
                "is text and JSON");
  refuse_beside(app, "--false-alarms",
                {"--backend", "--plugin", "--inject", "--spec", "--seed", "--json",
                 "--slot-outputs-rounded", "--no-routing", "--time-limit", "--threads"},
                "it runs the check exact alone, one case of every regime per seed, and reports as "
                "text and JSON");
  refuse_beside(app, "--rate-test", {"--backend", "--json"},
                "the file describes the whole test, and the backend alone may be another one than "
                "reference");
  refuse_beside(app, "--list-mutants", {"--json"}, "the catalogue is the same for every backend");
  refuse_shared_files(app, {"--json", "--html"}, {"--spec", "--plugin", "--rate-test"});
}

int run(const CLI::App& app, const Options& options) {
  check_options(app);
  if (options.list_mutants) return show(options, mutants_markdown(), mutants_json());
  if (!options.rate_test.empty()) {
    const std::string description = read_text(options.rate_test);
    const Backend& correct = backend(options.backend.empty() ? "reference" : options.backend);
    const TestRating rating =
        in_file(options.rate_test, [&] { return rate_test(description, correct); });
    return show(options, rating_text(rating), rating_json(rating));
  }
  if (!options.plugin.empty()) return run_plugin(options);
  return run_here(options, {[](std::string_view) {}, print});
}

}  // namespace

Run declare_audit(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::Option* backend =
      app.add_option("--backend", options->backend,
                     "Audit this backend; default: SLUICE_BACKEND, or else the fastest available "
                     "(beside --rate-test: reference)");
  CLI::Option* plugin =
      app.add_option("--plugin", options->plugin, "Audit the backend in this shared object")
          ->excludes(backend);
  app.add_option("--suite", options->audit.suite, "quick, full, or a class A … Q")
      ->capture_default_str();
  app.add_option(
      "--spec", options->spec,
      "Keep this spec's fields, JSON, instead of drawing them; widths above 128 are cut to 128 "
      "(times tp_size), so that the oracle takes seconds. One layer is tested at the widths as "
      "given, its experts halved until it has 134 million weights at most (full: 1073 million). "
      "The report says what was cut, and what was not");
  app.add_option("--seed", options->audit.seed, "First seed")
      ->check(seed_check())
      ->capture_default_str();
  app.add_option("--rounds", options->audit.rounds, "Draws per check; 0: what the suite says")
      ->check(at_least(0));
  app.add_option("--inject", options->inject,
                 "Make the backend wrong first: drop:FIELD, double:FIELD, or a mutant");
  app.add_option("--json", options->json, "Write the report here; - is stdout")->check(writable());
  app.add_option("--html", options->html, "Write the report as one page here; - is stdout")
      ->check(writable());
  app.add_option("--replay", options->audit.replay_directory,
                 "Write each failure's spec and tensors here, for `sluice layer`")
      ->check(writable_directory());
  app.add_flag("--slot-outputs-rounded", options->audit.allowances.slot_outputs_rounded,
               "The backend rounds expert outputs before it combines them; allow for that (cuda "
               "does so when it is let, as it then is)");
  app.add_flag("--no-routing", options->no_routing,
               "The backend does not report topk_ids and topk_weights");
  app.add_option("--time-limit", options->time_limit, "Seconds that a plugin may take")
      ->check(seconds_check())
      ->capture_default_str()
      ->needs(plugin);
  app.add_option("--threads", options->threads, "Worker threads; 0: one per core")
      ->check(at_least(0));
  auto* instead = app.add_option_group("instead of an audit", "at most one of");
  instead->add_flag("--mutants", options->mutants,
                    "Audit faulty copies of the backend, and print the mutation score");
  instead
      ->add_option("--false-alarms", options->false_alarms,
                   "Run the exactness check for this many seeds and count alarms")
      ->check(at_least(1));
  instead->add_option("--rate-test", options->rate_test,
                      "Which mutants would this test kill? A description, JSON; of reference, "
                      "which honours every field, unless --backend names another");
  instead->add_flag("--list-mutants", options->list_mutants, "The catalogue of faults, as a table");
  instead->require_option(0, 1);
  app.footer(kFooter);
  return [options, &app] { return run(app, *options); };
}

}  // namespace sluice::cli
