#include "tokenizer/chat_template.hpp"

#include "base/fail.hpp"

namespace sluice::tokenizer {

std::string render_chat(std::string_view, const ChatTokens&, std::span<const ChatMessage>, bool) {
  fail(ErrorKind::unsupported, "not yet");
}

}  // namespace sluice::tokenizer
