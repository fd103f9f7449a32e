// Bytes as a tokenizer.json, and, when it is one, as a text to encode and decode with it. Only
// sluice::Error may come out.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <sluice/error.hpp>
#include <sluice/tokenizer.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const auto tokenizer = sluice::Tokenizer::from_tokenizer_json(text, text);
    tokenizer.decode(tokenizer.encode(text), false);
  } catch (const sluice::Error&) {
  }
  try {
    const auto tokenizer =
        sluice::Tokenizer::from_tiktoken(text, R"({"added_tokens_decoder": {}})");
    tokenizer.decode(tokenizer.encode(text), false);
  } catch (const sluice::Error&) {
  }
  return 0;
}
