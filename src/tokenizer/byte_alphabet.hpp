// The byte-level alphabet: each byte as one printable character, so that a vocabulary of "strings"
// can hold any bytes. Printable Latin-1 bytes stand for themselves; the other 68 are U+0100 …
// U+0143.
#pragma once

#include <string>
#include <string_view>

namespace sluice::tokenizer {

void append_byte_characters(std::string& text, std::string_view bytes);
// A token with a character from outside the alphabet is not byte-level: its bytes are its own
// UTF-8.
void append_token_bytes(std::string& bytes, std::string_view token);

}  // namespace sluice::tokenizer
