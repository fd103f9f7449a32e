#include "tokenizer/byte_alphabet.hpp"

#include <array>
#include <cstddef>

#include "tokenizer/utf8.hpp"

namespace sluice::tokenizer {
namespace {

constexpr char32_t kFirstStandIn = 0x100;
constexpr std::size_t kStandIns = 68;

constexpr bool stands_for_itself(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Alphabet {
  std::array<char32_t, 256> character{};
  std::array<int, kFirstStandIn + kStandIns> byte{};  // -1: not in the alphabet
};

constexpr Alphabet make_alphabet() {
  Alphabet a;
  a.byte.fill(-1);
  char32_t next = kFirstStandIn;
  for (unsigned byte = 0; byte < 256; ++byte) {
    a.character[byte] = stands_for_itself(byte) ? byte : next++;
    a.byte[a.character[byte]] = static_cast<int>(byte);
  }
  return a;
}

constexpr Alphabet kAlphabet = make_alphabet();

}  // namespace

void append_byte_characters(std::string& text, std::string_view bytes) {
  for (const char byte : bytes) {
    append_utf8(text, kAlphabet.character[static_cast<unsigned char>(byte)]);
  }
}

void append_token_bytes(std::string& bytes, std::string_view token) {
  const std::size_t start = bytes.size();
  for (std::size_t i = 0; i < token.size();) {
    const Utf8Char c = utf8_at(token, i);
    if (!c.valid || c.code >= kAlphabet.byte.size() || kAlphabet.byte[c.code] < 0) {
      bytes.resize(start);
      bytes.append(token);
      return;
    }
    bytes.push_back(static_cast<char>(kAlphabet.byte[c.code]));
    i += c.bytes;
  }
}

}  // namespace sluice::tokenizer
