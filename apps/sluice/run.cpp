// sluice run: a prompt or a chat message to text.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <memory>
#include <optional>
#include <sluice/generate.hpp>

#include "at_least.hpp"
#include "base/fail.hpp"
#include "model_files.hpp"
#include "number_checks.hpp"
#include "output/files.hpp"
#include "output/table.hpp"
#include "output/to_stderr.hpp"
#include "position_warning.hpp"
#include "verb.hpp"

namespace sluice::cli {
namespace {

constexpr const char* kFooter =
    R"(The text streams to standard output. The prompt comes from the command line, --file, or standard
input (less a final line feed). Without --temperature the likeliest token is taken every time.

Examples:
  sluice run --model DIR $'Question: How many eggs are in three dozen?\nAnswer:'
  sluice run --model DIR --chat "How many eggs are in three dozen?" --verbose
  sluice run --model DIR --chat --system "Be brief." --temperature 0.7 --top-p 0.9 --seed 1 "Hi")";

struct Options {
  ModelChoice model;
  std::string backend;
  std::optional<std::string> prompt;
  std::string file;
  std::string system;
  bool chat = false;
  bool verbose = false;
  Request request;
};

std::string prompt_text(const Options& options) {
  if (options.prompt) return *options.prompt;
  std::string text = !options.file.empty()
                         ? read_text(options.file)
                         : std::string{std::istreambuf_iterator<char>(std::cin), {}};
  // `echo` and editors end a file with a line feed that nobody means as part of a prompt.
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

std::vector<TokenId> prompt_ids(const Options& options, const Tokenizer& tokenizer) {
  const std::string text = prompt_text(options);
  if (!options.chat) {
    if (!options.system.empty()) fail(ErrorKind::user, "--system belongs to --chat");
    return tokenizer.encode(text);
  }
  std::vector<ChatMessage> messages;
  if (!options.system.empty()) messages.push_back({"system", options.system});
  messages.push_back({"user", text});
  return tokenizer.encode(tokenizer.render_chat(messages, true), false);
}

std::string share(double part, double total) {
  return total > 0 ? fmt::format("{:.1f} %", 100 * part / total) : "-";
}

void print_figures(const Model& model, const Completion& completion, std::size_t prompt_tokens,
                   double seconds) {
  const ForwardTimes& times = model.times();
  const MemoryFigures memory = model.memory();
  Table table({{"figure"}, {"value"}});
  for (const LayerDescription& layer : model.description().layers) {
    const Backend* backend = model.layer_backend(layer.index);
    if (backend == nullptr) continue;
    table.add(
        {"backend", fmt::format("{}, {}", backend->name(), model.layer_variant(layer.index))});
    break;
  }
  table.add({"weights", human_bytes(static_cast<double>(memory.weight_bytes))});
  table.add({"prompt tokens", fmt::format("{}", prompt_tokens)});
  table.add({"new tokens", fmt::format("{}", completion.ids.size())});
  table.add({"ended by", std::string(to_string(completion.reason))});
  table.add(
      {"tokens per second", fmt::format("{:.1f} (prompt and new, {:.2f} s)",
                                        static_cast<double>(times.tokens) / seconds, seconds)});
  table.add({"time: experts", share(times.experts, times.total())});
  table.add({"time: router", share(times.router, times.total())});
  table.add({"time: attention", share(times.attention, times.total())});
  table.add({"time: dense mlp", share(times.dense_mlp, times.total())});
  table.add({"time: head", share(times.head, times.total())});
  table.add({"time: rest", share(times.rest, times.total())});
  to_stderr("\n" + table.text());
}

// Greedy decoding would accept them and do nothing with them.
void refuse_unused_sampling(const CLI::App& app, const Sampling& sampling) {
  if (sampling.temperature != 0.0) return;
  for (const char* option : {"--top-k", "--top-p", "--min-p", "--seed"}) {
    if (app.count(option) == 0) continue;
    fail(ErrorKind::user,
         "{} does nothing at temperature 0, where the likeliest token is taken every time; give "
         "--temperature above 0, or leave {} out",
         option, option);
  }
}

int run_run(const CLI::App& app, const Options& options) {
  validate(options.request.sampling);
  refuse_unused_sampling(app, options.request.sampling);
  const Tokenizer tokenizer = Tokenizer::load(options.model.directory);
  Request request = options.request;
  request.prompt = prompt_ids(options, tokenizer);
  if (request.prompt.empty()) fail(ErrorKind::user, "the prompt is empty; give some text");
  request.stop_ids = stop_ids(options.model.directory, tokenizer);

  ModelOptions model_options = options.model.options();
  model_options.backend = options.backend;
  const auto model = load_with_progress(options.model, model_options, options.model.directory);
  warn_beyond_positions(model->description(), "the prompt", std::ssize(request.prompt),
                        request.max_new_tokens,
                        "shorten the prompt, or give a smaller --max-new-tokens");
  GenerateOptions generation;
  generation.make_decoder = [&] { return make_text_decoder(tokenizer); };
  generation.on_text = [](std::size_t, std::string_view text) {
    fmt::print("{}", text);
    // A text that nobody can read need not be continued.
    if (std::fflush(stdout) != 0) fail(ErrorKind::user, "cannot write to standard output");
  };
  const auto start = std::chrono::steady_clock::now();
  const auto completions = generate(*model, {&request, 1}, generation);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  fmt::print("\n");
  if (completions.front().reason == FinishReason::not_a_number) {
    fail(ErrorKind::checkpoint,
         "new token {}: none of the {} logits is a number. A weight of {} is none, or the backend "
         "makes none of it: compare with --backend reference",
         completions.front().ids.size() + 1, model->description().vocab_size,
         options.model.directory);
  }
  if (options.verbose) {
    std::fflush(stdout);
    print_figures(*model, completions.front(), request.prompt.size(), seconds.count());
  }
  return kOk;
}

}  // namespace

Run declare_run(CLI::App& app) {
  auto options = std::make_shared<Options>();
  Request& request = options->request;
  options->model.declare(app);
  auto* prompt =
      app.add_option("PROMPT", options->prompt, "The prompt, or the user's message with --chat");
  app.add_option("--file", options->file, "Read the prompt from this file")->excludes(prompt);
  app.add_flag("--chat", options->chat, "Apply the checkpoint's chat template");
  app.add_option("--system", options->system, "System message of the chat");
  app.add_option("--backend", options->backend, "Backend of the MoE layers");
  app.add_option("--max-new-tokens", request.max_new_tokens, "Stop after this many")
      ->check(at_least(0))
      ->capture_default_str();
  app.add_option("--stop", request.stop_strings, "Stop before this text; may be repeated")
      // One text per --stop: the next word is the prompt.
      ->allow_extra_args(false);
  app.add_option("--temperature", request.sampling.temperature, "0: greedy")
      ->check(number_check())
      ->capture_default_str();
  app.add_option("--top-k", request.sampling.top_k, "Only the k likeliest; 0: off")
      ->check(at_least(0));
  app.add_option("--top-p", request.sampling.top_p, "Only the likeliest that make up this share")
      ->check(number_check());
  app.add_option("--min-p", request.sampling.min_p,
                 "Only those with this share of the likeliest's probability")
      ->check(number_check());
  app.add_option("--seed", request.sampling.seed, "Same seed, same text")->check(seed_check());
  app.add_flag("--verbose", options->verbose, "Figures on standard error: backend, speed, parts");
  app.footer(kFooter);
  return [options, &app] { return run_run(app, *options); };
}

}  // namespace sluice::cli
