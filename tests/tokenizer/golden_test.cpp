// Ids and texts equal those of Hugging Face `tokenizers` and of `tiktoken` on the whole corpus.
#include <fmt/format.h>

#include <string>
#include <vector>

#include <sluice/tokenizer.hpp>

#include "tokenizer/support.hpp"

namespace sluice::tokenizer {
namespace {

using Ids = std::vector<TokenId>;

Ids joined(const Json& prefix, const Ids& ids, const Json& suffix) {
  Ids all = prefix.get<Ids>();
  all.insert(all.end(), ids.begin(), ids.end());
  const Ids end = suffix.get<Ids>();
  all.insert(all.end(), end.begin(), end.end());
  return all;
}

std::vector<std::string> corpus() {
  return read_json("tokenizer/corpus.json").get<std::vector<std::string>>();
}

class TokenizerJsonGolden : public testing::TestWithParam<const char*> {};

TEST_P(TokenizerJsonGolden, EveryStringBothWays) {
  const std::string name = GetParam();
  const auto tokenizer =
      Tokenizer::from_tokenizer_json(read_text(data_path(fmt::format("tokenizer/{}.json", name))));
  const Json expected = read_json(fmt::format("tokenizer/{}.expected.json", name));
  const auto texts = corpus();
  ASSERT_EQ(texts.size(), expected["ids"].size());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const Ids ids = tokenizer.encode(texts[i], false);
    EXPECT_EQ(ids, expected["ids"][i].get<Ids>()) << texts[i];
    const Ids all = joined(expected["prefix"], ids, expected["suffix"]);
    EXPECT_EQ(tokenizer.encode(texts[i]), all) << texts[i];
    const auto text = [&](const Json& changed) {
      return changed.is_null() ? texts[i] : changed.get<std::string>();
    };
    EXPECT_EQ(tokenizer.decode(ids, false), text(expected["decoded"][i]));
    EXPECT_EQ(tokenizer.decode(all, true), text(expected["decoded_skip"][i]));
  }
  for (const Json& cut : expected["decode_cases"]) {
    EXPECT_EQ(tokenizer.decode(cut["ids"].get<Ids>(), false), cut["text"].get<std::string>());
    EXPECT_EQ(tokenizer.decode(cut["ids"].get<Ids>(), true), cut["text_skip"].get<std::string>());
  }
}

INSTANTIATE_TEST_SUITE_P(Files, TokenizerJsonGolden, testing::Values("trinity", "gpt2", "llama3"),
                         [](const auto& info) { return std::string(info.param); });

TEST(TokenizerVariants, EveryPreTokenizerBehaviour) {
  const auto texts = corpus();
  const Json variants = read_json("tokenizer/variants.json")["variants"];
  ASSERT_GE(variants.size(), 30U);
  for (const Json& variant : variants) {
    SCOPED_TRACE(variant["name"].get<std::string>());
    const std::string base = fmt::format("tokenizer/{}", variant["base"].get<std::string>());
    Json file = read_json(base + ".json");
    file.update(variant["patch"]);
    const auto tokenizer = Tokenizer::from_tokenizer_json(file.dump());
    const Json unpatched = read_json(base + ".expected.json")["ids"];
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const Json ids = variant["differs"].value(std::to_string(i), unpatched[i]);
      EXPECT_EQ(tokenizer.encode(texts[i], false), ids.get<Ids>()) << texts[i];
      EXPECT_EQ(tokenizer.encode(texts[i], true),
                joined(variant["prefix"], ids.get<Ids>(), variant["suffix"]));
    }
  }
}

TEST(TiktokenGolden, EveryStringBothWays) {
  const auto tokenizer = Tokenizer::load(data_path("tokenizer/kimi"));
  const Json expected = read_json("tokenizer/kimi/expected.json");
  const auto texts = corpus();
  ASSERT_EQ(texts.size(), expected["ids"].size());
  EXPECT_EQ(tokenizer.vocab_size(), expected["num_ranks"].get<int>() + 258);
  const Json& as_text = expected["ids_specials_as_text"];
  EXPECT_GE(as_text.size(), 3U);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const Ids ids = expected["ids"][i].get<Ids>();
    EXPECT_EQ(tokenizer.encode(texts[i]), ids) << texts[i];
    EXPECT_EQ(tokenizer.decode(ids, false), texts[i]);
    EXPECT_EQ(tokenizer.encode(texts[i], true, SpecialText::ordinary),
              as_text.value(std::to_string(i), ids))
        << texts[i];
  }
  for (const Json& cut : expected["decode_cases"]) {
    EXPECT_EQ(tokenizer.decode(cut["ids"].get<Ids>(), false), cut["text"].get<std::string>());
  }
}

}  // namespace
}  // namespace sluice::tokenizer
