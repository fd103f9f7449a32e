// sluice: the command line. One file per verb; this is the list of them.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <iostream>
#include <iterator>
#include <new>
#include <sluice/error.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/nearest_name.hpp"
#include "output/to_stderr.hpp"
#include "verb.hpp"

namespace sluice::cli {
namespace {

constexpr Verb kVerbs[] = {
    {"run", "A prompt or a chat message to text", declare_run},
    {"eval", "Answer GSM8K on several backends side by side", declare_eval},
    {"audit", "Find the parameter that a backend lost", declare_audit},
    {"bench", "Measure MoE layers against this machine's ceilings", declare_bench},
    {"fields", "Everything a spec can say, and which backend honours it", declare_fields},
    {"inspect", "What a model or a spec asks for, and who honours it", declare_inspect},
    {"layer", "Run one MoE layer on given tensors", declare_layer},
    {"logits", "A model's logits on given ids", declare_logits},
    {"tokenize", "Text to token ids and back", declare_tokenize},
};

constexpr const char* kFooter =
    "Exit status: 0 done, 1 a problem was found (a failed audit, …), 2 bad usage or input.\n"
    "`sluice VERB --help` explains a verb and shows an example.";

int report(const char* kind, const std::string& message) {
  std::cout.flush();
  std::fflush(stdout);
  to_stderr(fmt::format("sluice: error: {} ({})\n", message, kind));
  return kBadInput;
}

// `code`, unless what was printed went nowhere.
int if_printed(int code) {
  std::cout.flush();
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0 && std::cout) return code;
  return report("user", "cannot write to standard output");
}

int run_verb(const Run& run) {
  try {
    return if_printed(run());
  } catch (const Error& error) {
    return report(to_string(error.kind()), error.what());
  } catch (const std::bad_alloc&) {
    return report("device", "out of memory");
  } catch (const std::exception& error) {
    // What fmt::print throws is none of ours.
    if (std::ferror(stdout) != 0) return if_printed(kBadInput);
    return report("internal", error.what());
  }
}

// CLI11 would only say that a subcommand is required. `app` is asked for one of its subcommands;
// empty: `words` begin with one, or with an option.
std::string wrong_subcommand(const CLI::App& app, const std::string& what,
                             std::span<char* const> words) {
  std::vector<std::string> names;
  for (const CLI::App* verb : app.get_subcommands({})) names.push_back(verb->get_name());
  const std::vector<std::string_view> known(names.begin(), names.end());
  const std::string there_are =
      fmt::format("{} {}", known.size() == 1 ? "there is" : "there are", fmt::join(known, ", "));
  if (words.empty()) return fmt::format("{} needs a {}; {}", app.get_name(), what, there_are);
  const std::string typed = words[0];
  if (typed.starts_with('-') || std::find(known.begin(), known.end(), typed) != known.end()) {
    return "";
  }
  return fmt::format("there is no {} \"{}\"{}; {}", what, typed, did_you_mean(typed, known),
                     there_are);
}

// The mistakes that CLI11 words badly: no verb, an unknown one, and the same for `sluice eval`.
std::string wrong_verb(const CLI::App& app, std::span<char* const> words) {
  const auto problem = wrong_subcommand(app, "verb", words);
  if (!problem.empty() || words[0][0] == '-') return problem;
  const CLI::App* verb = app.get_subcommand(words[0]);
  const bool has_parts =
      !verb->get_subcommands([](const CLI::App* sub) { return !sub->get_name().empty(); }).empty();
  return has_parts ? wrong_subcommand(*verb, "task", words.subspan(1)) : "";
}

// An option that was given nothing: `--plugin "$LIB"` where nobody set LIB. Taken for one that was
// left out, the audit would pass, of another backend. Positional words may be empty: a text of no
// characters is a text.
std::string empty_option(const CLI::App& app) {
  for (const CLI::Option* option : app.get_options()) {
    const std::vector<std::string>& given = option->results();
    if (option->nonpositional() && std::find(given.begin(), given.end(), "") != given.end()) {
      return option->get_name();
    }
  }
  for (const CLI::App* part : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (auto name = empty_option(*part); !name.empty()) return name;
  }
  return "";
}

int main_of(int argc, char** argv) {
  CLI::App app{
      "Sluice: the Mixture-of-Experts layer in which no parameter is lost.\n"
      "Every backend applies a field of the layer's spec exactly once, or refuses it by name.",
      "sluice"};
  app.set_version_flag("--version", "sluice " SLUICE_VERSION);
  app.require_subcommand(1);
  app.footer(kFooter);
  std::vector<Run> runs;
  std::vector<CLI::App*> commands;
  for (const Verb& verb : kVerbs) {
    commands.push_back(app.add_subcommand(verb.name, verb.summary));
    runs.push_back(verb.declare(*commands.back()));
  }
  const std::span<char* const> words(argv + 1, static_cast<std::size_t>(argc > 0 ? argc - 1 : 0));
  if (const auto problem = wrong_verb(app, words); !problem.empty()) {
    return report("usage", problem);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // --help and --version arrive here too, with exit code 0.
    if (error.get_exit_code() == 0) return if_printed(app.exit(error));
    return report("usage", error.what());
  }
  if (const auto name = empty_option(app); !name.empty()) {
    return report("usage",
                  fmt::format("{0} was given an empty value; give it one, or leave {0} out", name));
  }
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (commands[i]->parsed()) return run_verb(runs[i]);
  }
  return kBadInput;
}

}  // namespace
}  // namespace sluice::cli

int main(int argc, char** argv) { return sluice::cli::main_of(argc, argv); }
