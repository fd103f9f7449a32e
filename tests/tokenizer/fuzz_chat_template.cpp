// Bytes as a chat template: a prompt in valid UTF-8, or an Error.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include <sluice/error.hpp>

#include "tokenizer/chat_template.hpp"
#include "tokenizer/utf8.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::array<sluice::ChatMessage, 2> messages{
      {{"user", "Hi \xE4\xBD\xA0"}, {"assistant", " ok\n"}}};
  try {
    const std::string prompt = sluice::tokenizer::render_chat(
        {reinterpret_cast<const char*>(data), size}, {"<s>", "</s>", {}, {}}, messages, true);
    if (sluice::tokenizer::valid_utf8(prompt) != prompt) std::abort();
  } catch (const sluice::Error&) {
  }
  return 0;
}
