#include <sluice/tokenizer.hpp>

#include <algorithm>
#include <fstream>
#include <system_error>
#include <utility>

#include "base/absent.hpp"
#include "base/fail.hpp"
#include "base/in_file.hpp"
#include "tokenizer/chat_template.hpp"
#include "tokenizer/config.hpp"
#include "tokenizer/kimi.hpp"
#include "tokenizer/pipeline.hpp"
#include "tokenizer/tokenizer_json.hpp"
#include "tokenizer/utf8.hpp"

namespace sluice {
namespace {

namespace fs = std::filesystem;

// No text: no config.
tokenizer::TokenizerConfig config_of(std::string_view json) {
  if (json.empty()) return {};
  return in_file("tokenizer_config.json", [&] { return tokenizer::read_config(json); });
}

tokenizer::Pipeline pipeline_of_json(std::string_view json) {
  return in_file("tokenizer.json", [&] { return tokenizer::read_tokenizer_json(json); });
}

// Above every file that a reader accepts; the readers have limits of their own.
constexpr std::uintmax_t kMaxFileBytes = 512 << 20;

std::optional<std::string> read_if_present(const fs::path& path) {
  if (is_absent(path)) return std::nullopt;
  std::error_code error;
  const std::uintmax_t size = fs::file_size(path, error);  // an error for what is not a file
  if (error) {
    fail(ErrorKind::checkpoint, "{} cannot be read: {}", path.string(), error.message());
  }
  if (size == 0) {
    fail(ErrorKind::checkpoint,
         "{} is empty, as a download that was cut short leaves it; fetch it again", path.string());
  }
  if (size > kMaxFileBytes) {
    fail(ErrorKind::checkpoint, "{} has {} bytes; the limit is {}", path.string(), size,
         kMaxFileBytes);
  }
  std::string text(size, '\0');
  std::ifstream stream(path, std::ios::binary);
  if (!stream.read(text.data(), static_cast<std::streamsize>(size))) {
    fail(ErrorKind::checkpoint, "{} cannot be read: {} bytes expected", path.string(), size);
  }
  return text;
}

// Before its files are missed: the path is what is wrong.
void check_directory(const fs::path& directory) {
  std::error_code error;
  const fs::file_status status = fs::status(directory, error);
  if (fs::is_directory(status)) return;
  if (status.type() == fs::file_type::not_found) {
    fail(ErrorKind::user, "there is no directory \"{}\"; give the directory of the checkpoint",
         directory.string());
  }
  if (!fs::exists(status)) {
    fail(ErrorKind::user, "{} cannot be read: {}", directory.string(), error.message());
  }
  fail(ErrorKind::user, "{} is not a directory; give the directory of the checkpoint",
       directory.string());
}

std::optional<TokenId> named_token(const tokenizer::Pipeline& pipeline, std::string_view name,
                                   const std::optional<std::string>& token) {
  if (!token) return std::nullopt;
  const auto id = pipeline.id_of(*token);
  if (!id) {
    fail(ErrorKind::checkpoint, "tokenizer_config.json: {} is \"{}\", which is not a token", name,
         *token);
  }
  return id;
}

}  // namespace

struct Tokenizer::Impl {
  tokenizer::Pipeline pipeline;
  tokenizer::TokenizerConfig config;
  std::optional<TokenId> bos, eos, pad;

  static Tokenizer make(tokenizer::Pipeline pipeline, tokenizer::TokenizerConfig config) {
    auto impl = std::make_shared<Impl>(Impl{std::move(pipeline), std::move(config), {}, {}, {}});
    impl->bos = named_token(impl->pipeline, "bos_token", impl->config.bos_token);
    impl->eos = named_token(impl->pipeline, "eos_token", impl->config.eos_token);
    impl->pad = named_token(impl->pipeline, "pad_token", impl->config.pad_token);
    return Tokenizer(std::move(impl));
  }
};

Tokenizer Tokenizer::load(const fs::path& directory) {
  check_directory(directory);
  const auto config_text = read_if_present(directory / "tokenizer_config.json");
  tokenizer::TokenizerConfig config = config_of(config_text.value_or(""));
  if (auto chat = read_if_present(directory / "chat_template.jinja")) config.chat_template = chat;
  if (const auto json = read_if_present(directory / "tokenizer.json")) {
    return Impl::make(pipeline_of_json(*json), std::move(config));
  }
  const auto ranks = read_if_present(directory / "tiktoken.model");
  if (!ranks) {
    fail(ErrorKind::checkpoint, "{} has neither tokenizer.json nor tiktoken.model",
         directory.string());
  }
  tokenizer::Pipeline pipeline = tokenizer::read_kimi(*ranks, config);
  return Impl::make(std::move(pipeline), std::move(config));
}

Tokenizer Tokenizer::from_tokenizer_json(std::string_view json, std::string_view config_json) {
  return Impl::make(pipeline_of_json(json), config_of(config_json));
}

Tokenizer Tokenizer::from_tiktoken(std::string_view ranks, std::string_view config_json) {
  tokenizer::TokenizerConfig config = config_of(config_json);
  tokenizer::Pipeline pipeline = tokenizer::read_kimi(ranks, config);
  return Impl::make(std::move(pipeline), std::move(config));
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, bool add_special_tokens,
                                       SpecialText special) const {
  return impl_->pipeline.encode(text, add_special_tokens, special);
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool skip_special_tokens) const {
  std::string bytes;
  for (const TokenId id : ids) {
    if (!skip_special_tokens || !is_special(id)) impl_->pipeline.append_bytes(id, bytes);
  }
  return tokenizer::valid_utf8(bytes);
}

std::int64_t Tokenizer::vocab_size() const {
  const tokenizer::Pipeline& pipeline = impl_->pipeline;
  return std::max(pipeline.tokens().largest_id(), pipeline.added.largest_id()) + 1;
}

std::optional<TokenId> Tokenizer::id_of(std::string_view token) const {
  return impl_->pipeline.id_of(token);
}

std::optional<std::string> Tokenizer::token_of(TokenId id) const {
  const std::string* token = impl_->pipeline.token_of(id);
  return token == nullptr ? std::nullopt : std::optional(*token);
}

bool Tokenizer::is_special(TokenId id) const { return impl_->pipeline.special.contains(id); }
std::optional<TokenId> Tokenizer::bos() const { return impl_->bos; }
std::optional<TokenId> Tokenizer::eos() const { return impl_->eos; }
std::optional<TokenId> Tokenizer::pad() const { return impl_->pad; }
bool Tokenizer::has_chat_template() const { return impl_->config.chat_template.has_value(); }

std::string Tokenizer::render_chat(std::span<const ChatMessage> messages,
                                   bool add_generation_prompt) const {
  const tokenizer::TokenizerConfig& config = impl_->config;
  if (!config.chat_template) {
    fail(ErrorKind::user,
         "the checkpoint has no chat template (\"chat_template\" in tokenizer_config.json, or "
         "chat_template.jinja); pass the prompt as plain text");
  }
  const tokenizer::ChatTokens tokens{config.bos_token, config.eos_token, config.pad_token,
                                     config.unk_token};
  return tokenizer::render_chat(*config.chat_template, tokens, messages, add_generation_prompt);
}

std::string TokenStream::push(TokenId id) {
  if (skip_special_tokens_ && tokenizer_.is_special(id)) return {};
  tokenizer_.impl_->pipeline.append_bytes(id, pending_);
  const std::size_t complete = tokenizer::complete_utf8(pending_);
  std::string piece = tokenizer::valid_utf8(std::string_view(pending_).substr(0, complete));
  pending_.erase(0, complete);
  return piece;
}

std::string TokenStream::finish() {
  std::string piece = tokenizer::valid_utf8(pending_);
  pending_.clear();
  return piece;
}

}  // namespace sluice
