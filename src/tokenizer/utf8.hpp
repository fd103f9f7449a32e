// UTF-8, with Unicode's "maximal subpart" rule for what is ill-formed.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sluice::tokenizer {

struct Utf8Char {
  char32_t code;
  std::size_t bytes;  // 1 … 4; of an ill-formed run: how much of it one U+FFFD stands for
  bool valid;
  bool truncated;  // ill-formed only because the text ends here
};

// The character at text[position]; position must be inside the text.
Utf8Char utf8_at(std::string_view text, std::size_t position);
void append_utf8(std::string& text, char32_t code);
// Every maximal ill-formed subpart becomes U+FFFD.
std::string valid_utf8(std::string_view bytes);
// Bytes before a character that the end of `bytes` cuts off; bytes.size() when there is none.
std::size_t complete_utf8(std::string_view bytes);

// For error messages: valid, and cut to a length that fits in one.
std::string shown(std::string_view bytes);

}  // namespace sluice::tokenizer
