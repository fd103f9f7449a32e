// sluice tokenize: text to token ids and back.
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <sluice/tokenizer.hpp>

#include "base/fail.hpp"
#include "output/files.hpp"
#include "output/table.hpp"
#include "verb.hpp"

namespace sluice::cli {
namespace {

constexpr const char* kFooter =
    R"(Prints the ids as a JSON list. Text comes from the command line, --file, or standard input.

Examples:
  sluice tokenize --model DIR "How many eggs?"
  sluice tokenize --model DIR --tokens "How many eggs?"      each id with its token
  sluice tokenize --model DIR --chat "How many eggs?"        as the chat template renders it
  sluice tokenize --model DIR --decode --file ids.json)";

struct Options {
  std::string model;
  std::optional<std::string> text;
  std::string file;
  bool decode = false;
  bool chat = false;
  bool no_special = false;
  bool tokens = false;
};

std::string input_text(const Options& options) {
  if (!options.file.empty()) return read_text(options.file);
  if (options.text) return *options.text;
  return {std::istreambuf_iterator<char>(std::cin), {}};
}

std::vector<TokenId> parse_ids(const std::string& text) {
  const auto json = nlohmann::json::parse(text, nullptr, false);
  std::vector<TokenId> ids;
  if (json.is_array()) {
    for (const auto& id : json) {
      if (!id.is_number_integer() || id < 0 || id > 0x7fffffff) break;
      ids.push_back(id.get<TokenId>());
    }
  }
  if (!json.is_array() || ids.size() != json.size()) {
    fail(ErrorKind::user, "--decode needs a JSON list of ids such as [12, 345]");
  }
  return ids;
}

// The library lets ids without a token add nothing, as a stream must; here somebody asks about
// them.
void refuse_unknown(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (tokenizer.token_of(ids[i])) continue;
    fail(ErrorKind::user,
         "id {} (number {} of the list) is no token; ids of this tokenizer end at {}", ids[i],
         i + 1, tokenizer.vocab_size() - 1);
  }
}

void print_tokens(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  Table table({{"position", true}, {"id", true}, {"token"}, {"special"}});
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const std::string token = tokenizer.token_of(ids[i]).value_or("");
    // Quoted as JSON: tokens hold line feeds, and tiktoken's are raw bytes.
    table.add({fmt::format("{}", i), fmt::format("{}", ids[i]),
               nlohmann::json(token).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace),
               tokenizer.is_special(ids[i]) ? "yes" : ""});
  }
  fmt::print("{}", table.text());
}

int run_tokenize(const Options& options) {
  const Tokenizer tokenizer = Tokenizer::load(options.model);
  std::string text = input_text(options);
  if (options.decode) {
    const auto ids = parse_ids(text);
    refuse_unknown(tokenizer, ids);
    fmt::print("{}\n", tokenizer.decode(ids, options.no_special));
    return kOk;
  }
  if (options.chat) {
    const ChatMessage message{"user", text};
    text = tokenizer.render_chat({&message, 1}, true);
  }
  // A rendered chat holds its special tokens already.
  const bool add_special = !options.chat && !options.no_special;
  const auto ids = tokenizer.encode(text, add_special);
  if (options.tokens) {
    print_tokens(tokenizer, ids);
  } else {
    fmt::print("[{}]\n", fmt::join(ids, ", "));
  }
  return kOk;
}

}  // namespace

Run declare_tokenize(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("--model", options->model, "Directory with tokenizer.json or tiktoken.model")
      ->required();
  auto* text = app.add_option("TEXT", options->text, "The text, or ids with --decode");
  app.add_option("--file", options->file, "Read the text from this file")->excludes(text);
  auto* decode = app.add_flag("--decode", options->decode, "From ids (a JSON list) to text");
  auto* chat =
      app.add_flag("--chat", options->chat, "Render the text as a user's chat message first")
          ->excludes(decode);
  app.add_flag("--no-special", options->no_special,
               "Add no BOS when encoding, show no special tokens when decoding")
      // A template's special tokens are its text.
      ->excludes(chat);
  app.add_flag("--tokens", options->tokens, "A table of ids and tokens")->excludes(decode);
  app.footer(kFooter);
  return [options] { return run_tokenize(*options); };
}

}  // namespace sluice::cli
