// A checkpoint's chat template: Jinja, of which jinja/ knows the part that chat formats use.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <sluice/tokenizer.hpp>

namespace sluice::tokenizer {

// What templates call bos_token, …; absent ones are undefined there.
struct ChatTokens {
  std::optional<std::string> bos, eos, pad, unk;
};

// As transformers renders it (trim_blocks, lstrip_blocks; no tools, no documents).
// Throws Error(unsupported) naming the construct that is not known, and Error(user) for what the
// template itself rejects with raise_exception.
std::string render_chat(std::string_view source, const ChatTokens& tokens,
                        std::span<const ChatMessage> messages, bool add_generation_prompt);

}  // namespace sluice::tokenizer
