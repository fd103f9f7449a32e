#include "tokenizer/utf8.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "tokenizer/byte_alphabet.hpp"

namespace sluice::tokenizer {
namespace {

const std::string kReplacement = "\xEF\xBF\xBD";

std::string replacements(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += kReplacement;
  return text;
}

// Expected values: bytes.decode("utf-8", "replace") of Python, the same as Rust's from_utf8_lossy.
TEST(Utf8, IllFormedBytesBecomeOneReplacementPerMaximalSubpart) {
  const std::vector<std::pair<std::string, int>> cases{
      {"\x80", 1},              // continuation alone
      {"\xC0\xAF", 2},          // overlong
      {"\xE0\x80\x80", 3},      // overlong
      {"\xE2\x82", 1},          // cut
      {"\xF0\x9F\x98", 1},      // cut
      {"\xF0\x9F\xFF", 2},      // broken off after two bytes
      {"\xED\xA0\x80", 3},      // surrogate
      {"\xF4\x90\x80\x80", 4},  // beyond U+10FFFF
      {"\xF5\x80\x80\x80", 4},
      {"\xFF\xFE", 2}};
  for (const auto& [bytes, count] : cases) {
    EXPECT_EQ(valid_utf8(fmt::format("a{}b", bytes)), fmt::format("a{}b", replacements(count)));
  }
}

TEST(Utf8, BoundariesOfEachLengthSurvive) {
  std::string text;
  for (const char32_t code :
       {0x0U, 0x7FU, 0x80U, 0x7FFU, 0x800U, 0xD7FFU, 0xE000U, 0xFFFFU, 0x10000U, 0x10FFFFU}) {
    std::string one;
    append_utf8(one, code);
    const Utf8Char c = utf8_at(one, 0);
    EXPECT_TRUE(c.valid);
    EXPECT_EQ(c.code, code);
    EXPECT_EQ(c.bytes, one.size());
    for (std::size_t cut = 1; cut < one.size(); ++cut) {
      const std::string start = fmt::format("x{}", one.substr(0, cut));
      EXPECT_EQ(complete_utf8(start), 1U);
    }
    text += one;
  }
  EXPECT_EQ(valid_utf8(text), text);
  EXPECT_EQ(complete_utf8(text), text.size());
}

TEST(Utf8, WhatCannotBecomeACharacterIsNotHeldBack) {
  for (const std::string bytes :
       {"\x80\x80\x80", "\xC0", "\xE0\x80", "\xED\xA0", "\xF4\x90", "\xFF"}) {
    EXPECT_EQ(complete_utf8(bytes), bytes.size());
  }
}

TEST(ByteAlphabet, EveryByteHasItsOwnCharacter) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all.push_back(static_cast<char>(byte));
  std::string characters;
  append_byte_characters(characters, all);
  EXPECT_EQ(characters.size(), 94U + 2 * 162U);  // ASCII's printable ones stay single bytes
  std::string bytes;
  append_token_bytes(bytes, characters);
  EXPECT_EQ(bytes, all);
  std::string space;
  append_byte_characters(space, " \n");
  EXPECT_EQ(space, "\u0120\u010A");
}

TEST(ByteAlphabet, ATokenBeyondTheAlphabetIsItsOwnText) {
  std::string bytes = "x";
  append_token_bytes(bytes, "\u0120\u4F60 ");
  EXPECT_EQ(bytes, "x\u0120\u4F60 ");
}

}  // namespace
}  // namespace sluice::tokenizer
