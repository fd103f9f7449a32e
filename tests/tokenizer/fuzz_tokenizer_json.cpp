// Bytes as a tokenizer.json, and, when it is one, as a text to encode and decode with it. Only
// sluice::Error may come out.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <sluice/tokenizer.hpp>

#include "base/fuzzing.hpp"

using sluice::test::refuse_or;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  refuse_or([&] {
    const auto tokenizer = sluice::Tokenizer::from_tokenizer_json(text, text);
    tokenizer.decode(tokenizer.encode(text), false);
  });
  refuse_or([&] {
    const auto tokenizer =
        sluice::Tokenizer::from_tiktoken(text, R"({"added_tokens_decoder": {}})");
    tokenizer.decode(tokenizer.encode(text), false);
  });
  return 0;
}
