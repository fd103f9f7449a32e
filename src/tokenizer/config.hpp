// tokenizer_config.json: the names of special tokens and the chat template.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace sluice::tokenizer {

struct DeclaredToken {
  std::string content;
  bool special = true;  // left out when decoding for display
};

struct TokenizerConfig {
  std::optional<std::string> bos_token, eos_token, pad_token, unk_token;
  std::optional<std::string> chat_template;  // of several named ones, "default"
  std::optional<std::string> tokenizer_class;
  std::optional<std::map<std::int64_t, DeclaredToken>> added_tokens;  // added_tokens_decoder
};

// Throws Error(checkpoint) for damage.
TokenizerConfig read_config(std::string_view json);

}  // namespace sluice::tokenizer
