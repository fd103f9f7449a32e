#include "tokenizer/config.hpp"

#include <charconv>

#include "base/fail.hpp"
#include "tokenizer/json_fields.hpp"

namespace sluice::tokenizer {
namespace {

constexpr std::size_t kMaxConfigBytes = 16 << 20;

// A token is written as a string, or as an object with its content and flags.
std::optional<std::string> token_field(Fields& config, std::string_view name) {
  const Json* field = config.find(name);
  if (field == nullptr) return std::nullopt;
  if (field->is_string()) return field->get<std::string>();
  return Fields(*field, config.path(name)).text("content");
}

std::optional<std::string> template_field(Fields& config) {
  const Json* field = config.find("chat_template");
  if (field == nullptr) return std::nullopt;
  if (field->is_string()) return field->get<std::string>();
  if (!field->is_array()) fail_type("chat_template", "a string or a list", *field);
  for (const Json& item : *field) {
    Fields named(item, "chat_template[]");
    if (named.text("name") == "default") return named.text("template");
  }
  return std::nullopt;
}

std::optional<std::map<std::int64_t, DeclaredToken>> added_tokens_field(Fields& config) {
  const Json* field = config.find("added_tokens_decoder");
  if (field == nullptr) return std::nullopt;
  std::map<std::int64_t, DeclaredToken> tokens;
  if (!field->is_object()) fail_type("added_tokens_decoder", "an object", *field);
  for (const auto& [key, value] : field->items()) {
    std::int64_t id = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc{} || end != key.data() + key.size()) {
      fail(ErrorKind::checkpoint, "added_tokens_decoder: \"{}\" is not a token id", key);
    }
    Fields token(value, "added_tokens_decoder." + key);
    tokens[id] = {token.text("content"), token.flag("special", true)};
  }
  return tokens;
}

}  // namespace

TokenizerConfig read_config(std::string_view json) {
  const Json document = parse_json(json, "tokenizer_config.json", kMaxConfigBytes);
  Fields fields(document, "");
  TokenizerConfig config;
  config.bos_token = token_field(fields, "bos_token");
  config.eos_token = token_field(fields, "eos_token");
  config.pad_token = token_field(fields, "pad_token");
  config.unk_token = token_field(fields, "unk_token");
  config.chat_template = template_field(fields);
  config.tokenizer_class = fields.text_or_null("tokenizer_class");
  config.added_tokens = added_tokens_field(fields);
  return config;
}

}  // namespace sluice::tokenizer
