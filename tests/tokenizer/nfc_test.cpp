#include "tokenizer/nfc.hpp"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace sluice::tokenizer {
namespace {

// From Unicode's NormalizationTest.txt and from tokenizers' NFC.
TEST(Nfc, ComposesOrdersAndBlocks) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"plain \u00e9", "plain \u00e9"},
      {"e\u0301", "\u00e9"},
      {"\u1E0A\u0323", "\u1E0C\u0307"},  // marks of lower class first
      {"D\u0307\u0323", "\u1E0C\u0307"},
      {"a\u0301\u0301", "\u00e1\u0301"},  // the second of a class is blocked
      {"a\u0328\u0301", "\u0105\u0301"},
      {"\u212B", "\u00C5"},              // singleton
      {"\u0344", "\u0308\u0301"},        // excluded from composition
      {"\u0958", "\u0915\u093C"},        // the same
      {"\u1100\u1161\u11A8", "\uAC01"},  // Hangul
      {"\uAC00\u11A8", "\uAC01"},
      {"\uAC01\u11A8", "\uAC01\u11A8"},
      {"\uF900", "\u8C48"},    // compatibility ideograph, a singleton
      {"\u0301a", "\u0301a"},  // nothing to attach to
      {"\u09C7x\u09BE", "\u09C7x\u09BE"},
      {"\u09C7\u09BE", "\u09CB"},  // two starters
      {"\U0001D15E", "\U0001D157\U0001D165"},
      {"A\u030A\u0327", "\u00C5\u0327"}};
  for (const auto& [text, composed] : cases) {
    EXPECT_EQ(nfc(text), composed);
    EXPECT_EQ(nfc(nfc(text)), nfc(text));
  }
}

}  // namespace
}  // namespace sluice::tokenizer
