// The first line is a pattern, the rest a text: spans must cover the text in order, or an Error.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include <sluice/error.hpp>

#include "tokenizer/regex.hpp"
#include "tokenizer/utf8.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t line = input.find('\n');
  const std::string text = line == std::string_view::npos
                               ? ""
                               : sluice::tokenizer::valid_utf8(input.substr(line + 1, 200));
  try {
    const sluice::tokenizer::Regex regex(input.substr(0, line));
    std::vector<sluice::tokenizer::Span> spans;
    regex.split(text, spans);
    std::size_t at = 0;
    for (const auto& span : spans) {
      if (span.begin != at || span.end < at) std::abort();
      at = span.end;
    }
    if (at != text.size()) std::abort();
  } catch (const sluice::Error&) {
  }
  return 0;
}
