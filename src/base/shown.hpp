// Text from a file, as it may stand in a message: quoted, of bounded length, printable.
#pragma once

#include <string>
#include <string_view>

namespace sluice {

inline std::string shown(std::string_view text) {
  constexpr std::size_t kLongest = 120;
  std::size_t length = text.size();
  if (length > kLongest) {
    length = kLongest;  // and back to the start of a UTF-8 character
    while (length > 0 && (static_cast<unsigned char>(text[length]) & 0xc0) == 0x80) --length;
  }
  std::string quoted = "\"";
  for (const char letter : text.substr(0, length)) {
    const auto code = static_cast<unsigned char>(letter);
    quoted += code < 0x20 || code == 0x7f ? '?' : letter;  // no terminal control sequences
  }
  return quoted + (text.size() > length ? "…\"" : "\"");
}

}  // namespace sluice
