// sluice eval gsm8k: one model, several ways of computing it, side by side.
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <sluice/eval.hpp>

#include "at_least.hpp"
#include "base/fail.hpp"
#include "eval_options.hpp"
#include "eval_records.hpp"
#include "eval_report.hpp"
#include "eval_runs.hpp"
#include "model_files.hpp"
#include "output/files.hpp"
#include "output/progress.hpp"
#include "output/table.hpp"
#include "position_warning.hpp"
#include "refuse_beside.hpp"
#include "refuse_overrun.hpp"
#include "refuse_shared_files.hpp"
#include "verb.hpp"
#include "writable.hpp"

namespace sluice::cli {
namespace {

constexpr const char* kFooter =
    R"(Every run answers the same prompts greedily. Per run: accuracy by four published scoring rules with
Wilson's 95 % interval, mean NLL of the gold answer per token, and against the first run: the share
of identical answers, the median token at which the others differ, and the mean KL divergence over
the gold answer. All runs stay in memory side by side.

A record of every answer is kept (--records), so that --resume continues an interrupted run.
--inject runs the last backend once more with one fault: drop:FIELD, double:FIELD or a mutant of
`sluice audit`. --score judges completions made elsewhere: JSON lines with "answer" ("… #### 42" or
the number) and "completion".

Examples: the right backend, ours, and ours with one parameter lost
  sluice eval gsm8k --model demo/trinity-tiny --data demo/problems/test.jsonl \
         --backends reference,cpu --inject drop:router.routed_scaling_factor
  sluice eval gsm8k --score completions.jsonl)";

std::vector<Problem> read_shots(const EvalVerbOptions& options) {
  if (options.shots == 0) {
    if (options.shots_file.empty()) return {};
    fail(ErrorKind::user, "--shots-file {} needs --shots N: how many of its problems to show",
         options.shots_file);
  }
  if (options.shots_file.empty()) {
    fail(ErrorKind::user, "--shots {} needs --shots-file FILE with solved problems", options.shots);
  }
  auto shots = read_problems(options.shots_file, options.shots);
  if (std::ssize(shots) < options.shots) {
    fail(ErrorKind::user, "{} holds {} problems, --shots asks for {}", options.shots_file,
         shots.size(), options.shots);
  }
  return shots;
}

int run_score(const EvalVerbOptions& options) {
  const auto scores = score(read_completions(options.score));
  if (!options.json.empty()) write_json(options.json, {{"accuracy", scores_json(scores)}});
  if (options.json == "-") return kOk;
  Table table({{"rule"}, {"correct", true}, {"of", true}, {"accuracy [95 %]", true}, {"reads"}});
  for (std::size_t rule = 0; rule < kScoringRules; ++rule) {
    table.add({std::string(scoring_rules()[rule].name), fmt::format("{}", scores[rule].hits),
               fmt::format("{}", scores[rule].trials), percent_with_interval(scores[rule]),
               std::string(scoring_rules()[rule].meaning)});
  }
  fmt::print("{}", table.text());
  return kOk;
}

std::function<void(std::size_t, std::size_t)> problem_progress(ProgressLine& line) {
  return [&line](std::size_t done, std::size_t total) {
    line.update(static_cast<double>(done), static_cast<double>(total),
                fmt::format("{} of {} problems", done, total));
  };
}

void warn_of_long_prompts(const EvalRun& run, const Tokenizer& tokenizer,
                          std::span<const Problem> problems, const EvalOptions& eval) {
  ProgressLine line("tokenizing");
  const SequenceLength longest =
      longest_sequence(tokenizer, problems, eval, problem_progress(line));
  line.clear();
  warn_beyond_positions(run.model->description(), "the longest prompt", longest.prompt,
                        longest.behind, "give fewer --shots, or a smaller --max-new-tokens");
}

EvalReport evaluate(const EvalVerbOptions& options, const std::vector<EvalRun>& runs,
                    std::span<const Problem> problems) {
  const Tokenizer tokenizer = Tokenizer::load(options.model.directory);
  std::vector<EvalSubject> subjects;
  for (const EvalRun& run : runs) subjects.push_back({run.name, run.model.get()});
  EvalOptions eval = options.eval;
  eval.stop_ids = stop_ids(options.model.directory, tokenizer);
  eval.records = records_path(options);
  eval.resume = options.resume;
  warn_of_long_prompts(runs.front(), tokenizer, problems, eval);
  eval.settings = settings_of(options, runs, problems, tokenizer, eval);
  ProgressLine line("evaluating");
  eval.progress = problem_progress(line);
  return evaluate_gsm8k(subjects, tokenizer, problems, eval);
}

std::string problem_count(std::size_t count) {
  return fmt::format("{} problem{}", count, count == 1 ? "" : "s");
}

void print_report(const EvalVerbOptions& options, const std::vector<EvalRun>& runs,
                  const EvalReport& report) {
  fmt::print("GSM8K, {}, {}-shot{}, greedy: {}\n\n",
             problem_count(report.subjects.front().answers.size()), options.shots,
             options.chat ? ", chat" : "", options.model.directory);
  fmt::print("{}\n{}\n", accuracy_table(report), speed_table(report));
  if (report.resumed > 0) fmt::print("{} came from the records\n", problem_count(report.resumed));
  fmt::print("a record of every answer: {}\n", records_path(options));
  const std::size_t right = runs.size() - options.faults.size() - 1;
  for (std::size_t i = right + 1; i < runs.size(); ++i) {
    fmt::print("\n{}",
               fault_sentence(runs[i].fault, report, report.subjects[right], report.subjects[i]));
  }
}

int run_gsm8k(const CLI::App& gsm8k, EvalVerbOptions& options) {
  refuse_beside(gsm8k, "--score", {"--json"},
                "it judges completions that are there; no model runs");
  refuse_shared_files(gsm8k, {"--records", "--json"}, {"--data", "--shots-file", "--score"});
  if (!options.score.empty()) return run_score(options);
  if (options.model.directory.empty() || options.data.empty()) {
    fail(ErrorKind::user,
         "give --model DIR and --data FILE.jsonl (GSM8K's test.jsonl, github.com/openai/"
         "grade-school-math, or demo/problems/test.jsonl), or --score COMPLETIONS.jsonl");
  }
  if (const auto reason = why_unwritable(records_path(options)); !reason.empty()) {
    fail(ErrorKind::user, "{}; --records names another file", reason);
  }
  for (const std::string& fault : options.faults) refuse_overrun(fault, "the evaluation itself");
  options.eval.prompt = {read_shots(options), options.chat};
  const auto problems = read_problems(options.data, options.limit);
  const auto runs = load_runs(options);
  const EvalReport report = evaluate(options, runs, problems);
  if (!options.json.empty()) {
    auto json = report_json(report);
    json["model"] = options.model.directory;
    json["data"] = options.data;
    json["shots"] = options.shots;
    json["records"] = records_path(options);
    write_json(options.json, json);
  }
  if (options.json != "-") print_report(options, runs, report);
  return kOk;
}

}  // namespace

Run declare_eval(CLI::App& app) {
  auto options = std::make_shared<EvalVerbOptions>();
  app.require_subcommand(1);
  CLI::App& gsm8k = *app.add_subcommand("gsm8k", "Grade-school mathematics, answers after ####");
  options->model.declare(gsm8k);
  gsm8k.get_option("--model")->required(false);
  gsm8k.add_option("--data", options->data, "Problems: JSON lines with question and answer");
  gsm8k
      .add_option("--backends", options->backends,
                  "Runs to compare, e.g. reference,cpu; default: one")
      ->delimiter(',');
  gsm8k.add_option("--inject", options->faults,
                   "One more run of the last backend with this fault; may be repeated");
  gsm8k.add_option("--shots", options->shots, "Solved problems before each question")
      ->check(at_least(0));
  gsm8k.add_option("--shots-file", options->shots_file, "Where they come from, in order");
  gsm8k.add_flag("--chat", options->chat, "Ask through the checkpoint's chat template");
  gsm8k.add_option("--limit", options->limit, "Only the first N problems")->check(at_least(1));
  gsm8k.add_option("--max-new-tokens", options->eval.max_new_tokens, "Longest answer")
      ->check(at_least(1))
      ->capture_default_str();
  gsm8k.add_option("--batch", options->eval.batch, "Sequences at a time")
      ->check(at_least(1))
      ->capture_default_str();
  gsm8k
      .add_option("--records", options->records,
                  "Where the records go (default: beside --json, else sluice-eval.records.jsonl)")
      ->check(writable_file());
  gsm8k.add_flag("--resume", options->resume, "Continue from the records");
  gsm8k.add_option("--score", options->score, "Only judge the completions in this file");
  gsm8k.add_option("--json", options->json, "Write the figures here; - is stdout")
      ->check(writable());
  gsm8k.footer(kFooter);
  app.footer("Example:\n  sluice eval gsm8k --help");
  return [options, &gsm8k] { return run_gsm8k(gsm8k, *options); };
}

}  // namespace sluice::cli
