#include "tokenizer/merge.hpp"

#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tokenizer/bpe.hpp"

namespace sluice::tokenizer {
namespace {

using Pairs = std::map<std::pair<TokenId, TokenId>, Merge>;

std::vector<TokenId> merged(const std::vector<TokenId>& ids, const Pairs& pairs) {
  std::vector<Symbol> symbols;
  for (std::size_t i = 0; i < ids.size(); ++i) append_symbol(symbols, ids[i], i, i + 1);
  merge_symbols(symbols, [&](const Symbol& left, const Symbol& right) -> std::optional<Merge> {
    const auto pair = pairs.find({left.id, right.id});
    return pair == pairs.end() ? std::nullopt : std::optional(pair->second);
  });
  std::vector<TokenId> result;
  for (const Symbol& symbol : symbols) {
    if (symbol.begin != symbol.end) result.push_back(symbol.id);
  }
  return result;
}

// The definition: join the best-ranked pair, the leftmost of equals, until there is none.
std::vector<TokenId> merged_slowly(std::vector<TokenId> ids, const Pairs& pairs) {
  for (;;) {
    std::size_t best = ids.size();
    Merge merge{};
    for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto pair = pairs.find({ids[i], ids[i + 1]});
      if (pair == pairs.end() || (best != ids.size() && pair->second.rank >= merge.rank)) continue;
      best = i;
      merge = pair->second;
    }
    if (best == ids.size()) return ids;
    ids[best] = merge.id;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

TEST(Merge, EqualsItsDefinitionOnRandomWords) {
  std::mt19937 random(7);
  int shortened = 0;
  for (int round = 0; round < 300; ++round) {
    // As training makes them: each new token is a pair of older ones, ranks in order.
    Pairs pairs;
    for (TokenId id = 4; id < 24; ++id) {
      const auto older = [&] { return static_cast<TokenId>(random() % static_cast<unsigned>(id)); };
      pairs.emplace(std::pair{older(), older()}, Merge{static_cast<std::uint32_t>(id), id});
    }
    std::vector<TokenId> word(random() % 40);
    for (TokenId& id : word) id = static_cast<TokenId>(random() % 4);
    const auto result = merged(word, pairs);
    EXPECT_EQ(result, merged_slowly(word, pairs));
    shortened += result.size() < word.size() ? 1 : 0;
  }
  EXPECT_GT(shortened, 150);
}

Bpe model(const std::vector<std::pair<std::string, std::string>>& merges,
          const BpeOptions& options) {
  TokenTable tokens;
  std::int64_t id = 0;
  for (const char* token : {"<unk>", "a", "b", "c", "ab", "bc", "abc", "abcc"})
    tokens.add(token, id++);
  return Bpe(std::move(tokens), merges, options);
}

std::vector<TokenId> encoded(const Bpe& bpe, std::string_view word) {
  std::vector<TokenId> ids;
  bpe.encode(word, ids);
  return ids;
}

// Expected values: tokenizers' BPE with the same options.
TEST(Bpe, OptionsDecideWhatUnknownCharactersAndWholeWordsBecome) {
  const std::vector<std::pair<std::string, std::string>> merges{
      {"b", "c"}, {"a", "b"}, {"ab", "c"}};
  EXPECT_EQ(encoded(model(merges, {}), "abcxyab"), (std::vector<TokenId>{1, 5, 4}));
  EXPECT_EQ(encoded(model(merges, {"<unk>", false, false}), "axyb"),
            (std::vector<TokenId>{1, 0, 0, 2}));
  EXPECT_EQ(encoded(model(merges, {"<unk>", true, false}), "axybz"),
            (std::vector<TokenId>{1, 0, 2, 0}));
  EXPECT_EQ(encoded(model(merges, {}), "abcc"), (std::vector<TokenId>{1, 5, 3}));
  EXPECT_EQ(encoded(model(merges, {std::nullopt, false, true}), "abcc"), (std::vector<TokenId>{7}));
}

TEST(Bpe, OfAPairListedTwiceTheLaterRankCounts) {
  const std::vector<std::pair<std::string, std::string>> merges{{"a", "b"}, {"b", "c"}, {"a", "b"}};
  EXPECT_EQ(encoded(model(merges, {}), "abc"), (std::vector<TokenId>{1, 5}));
}

}  // namespace
}  // namespace sluice::tokenizer
