// Streaming pieces are valid UTF-8 one by one and together exactly decode().
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include <sluice/tokenizer.hpp>

#include "tokenizer/support.hpp"
#include "tokenizer/utf8.hpp"

namespace sluice {
namespace {

std::string streamed(const Tokenizer& tokenizer, const std::vector<TokenId>& ids, bool skip) {
  TokenStream stream(tokenizer, skip);
  std::string text;
  const auto add = [&](const std::string& piece) {
    EXPECT_EQ(tokenizer::valid_utf8(piece), piece);
    text += piece;
  };
  for (const TokenId id : ids) add(stream.push(id));
  add(stream.finish());
  EXPECT_EQ(stream.finish(), "");
  return text;
}

TEST(TokenStream, NoiseAndTextGiveWhatDecodeGives) {
  std::mt19937 random(3);
  int held_back = 0;
  for (const char* name : {"trinity.json", "gpt2.json"}) {
    const auto tokenizer = Tokenizer::from_tokenizer_json(
        tokenizer::read_text(tokenizer::data_path(fmt::format("tokenizer/{}", name))));
    for (int round = 0; round < 400; ++round) {
      std::vector<TokenId> ids(random() % 30);
      for (TokenId& id : ids)
        id = static_cast<TokenId>(random() % static_cast<unsigned>(tokenizer.vocab_size() + 2));
      for (const bool skip : {false, true}) {
        EXPECT_EQ(streamed(tokenizer, ids, skip), tokenizer.decode(ids, skip));
      }
      TokenStream stream(tokenizer);
      for (const TokenId id : ids) stream.push(id);
      held_back += stream.finish().empty() ? 0 : 1;
    }
    const std::string text = "\u4f60\u597d \U0001F468\u200D\U0001F469 na\u00efve <|im_end|>!";
    EXPECT_EQ(streamed(tokenizer, tokenizer.encode(text), false),
              tokenizer.decode(tokenizer.encode(text), false));
  }
  EXPECT_GT(held_back, 50);
}

TEST(TokenStream, ACharacterOfSeveralTokensComesWithItsLastByte) {
  const auto tokenizer = Tokenizer::load(tokenizer::data_path("tokenizer/kimi"));
  // One token per byte of U+1F600: F0 9F 98 80.
  std::vector<TokenId> ids;
  for (const char byte : std::string("\U0001F600"))
    ids.push_back(tokenizer.id_of(std::string(1, byte)).value());
  TokenStream stream(tokenizer);
  EXPECT_EQ(stream.push(ids[0]), "");
  EXPECT_EQ(stream.push(ids[1]), "");
  EXPECT_EQ(stream.push(ids[2]), "");
  EXPECT_EQ(stream.push(ids[3]), "\U0001F600");
  EXPECT_EQ(stream.push(ids[0]), "");
  EXPECT_EQ(stream.push(tokenizer.id_of("a").value()), "\uFFFDa");  // it can no longer be completed
  EXPECT_EQ(stream.push(ids[0]), "");
  EXPECT_EQ(stream.push(tokenizer.eos().value()), "");  // a special token, left out
  EXPECT_EQ(stream.finish(), "\uFFFD");
  EXPECT_EQ(stream.push(tokenizer.id_of("a").value()), "a");
}

}  // namespace
}  // namespace sluice
