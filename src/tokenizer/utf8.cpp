#include "tokenizer/utf8.hpp"

#include <algorithm>

namespace sluice::tokenizer {
namespace {

struct Lead {
  std::size_t bytes;        // of the whole character; 0: cannot start one
  unsigned char low, high;  // bounds of the second byte: no overlong forms, surrogates, > U+10FFFF
};

Lead lead(unsigned char byte) {
  if (byte < 0x80) return {1, 0, 0};
  if (byte < 0xC2) return {0, 0, 0};
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte < 0xF0) {
    return {3, static_cast<unsigned char>(byte == 0xE0 ? 0xA0 : 0x80),
            static_cast<unsigned char>(byte == 0xED ? 0x9F : 0xBF)};
  }
  if (byte < 0xF5) {
    return {4, static_cast<unsigned char>(byte == 0xF0 ? 0x90 : 0x80),
            static_cast<unsigned char>(byte == 0xF4 ? 0x8F : 0xBF)};
  }
  return {0, 0, 0};
}

}  // namespace

Utf8Char utf8_at(std::string_view text, std::size_t position) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[position + i]); };
  const Lead head = lead(byte(0));
  if (head.bytes == 1) return {byte(0), 1, true, false};
  if (head.bytes == 0) return {0xFFFD, 1, false, false};
  char32_t code = byte(0) & (0x7Fu >> head.bytes);
  for (std::size_t i = 1; i < head.bytes; ++i) {
    if (position + i >= text.size()) return {0xFFFD, i, false, true};
    const unsigned char low = i == 1 ? head.low : 0x80;
    const unsigned char high = i == 1 ? head.high : 0xBF;
    if (byte(i) < low || byte(i) > high) return {0xFFFD, i, false, false};
    code = (code << 6) | (byte(i) & 0x3Fu);
  }
  return {code, head.bytes, true, false};
}

void append_utf8(std::string& text, char32_t code) {
  const auto put = [&](char32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | (code >> 6));
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | (code >> 12));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | (code >> 18));
    put(0x80 | ((code >> 12) & 0x3F));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

std::string valid_utf8(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  for (std::size_t i = 0; i < bytes.size();) {
    const Utf8Char c = utf8_at(bytes, i);
    if (c.valid) {
      text.append(bytes.substr(i, c.bytes));
    } else {
      append_utf8(text, 0xFFFD);
    }
    i += c.bytes;
  }
  return text;
}

std::size_t complete_utf8(std::string_view bytes) {
  // The cut character's lead byte is among the last three.
  for (std::size_t back = std::min<std::size_t>(3, bytes.size()); back > 0; --back) {
    const std::size_t position = bytes.size() - back;
    if ((static_cast<unsigned char>(bytes[position]) & 0xC0) == 0x80) continue;
    const Utf8Char c = utf8_at(bytes, position);
    if (c.truncated && c.bytes == back) return position;
  }
  return bytes.size();
}

std::string shown(std::string_view bytes) {
  constexpr std::size_t kShownBytes = 160;
  if (bytes.size() <= kShownBytes) return valid_utf8(bytes);
  const std::string_view start = bytes.substr(0, kShownBytes);
  return valid_utf8(start.substr(0, complete_utf8(start))) + " …";
}

}  // namespace sluice::tokenizer
