#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sluice/eval.hpp>

namespace sluice {
namespace {

// tools/goldens/scoring.py ran the published patterns in Python on every string here.
TEST(Scoring, EqualsThePublishedRulesInPython) {
  std::ifstream file(SLUICE_TEST_DATA "/eval/scoring.json");
  const auto goldens = nlohmann::json::parse(file);
  ASSERT_GT(goldens.size(), 100u);
  for (const ScoringRule& rule : scoring_rules()) {
    const std::string name(rule.name);
    std::set<bool> verdicts;
    for (const auto& golden : goldens) {
      const std::string completion = golden["completion"];
      const std::string answer = golden["answer"];
      const auto read = rule.read(completion);
      const auto& expected = golden["read"][name];
      const std::string where = name + ": " + completion.substr(0, 80) + " for " + answer;
      EXPECT_EQ(read.value_or("none"), expected.is_null() ? "none" : expected.get<std::string>())
          << where;
      EXPECT_EQ(rule.correct(completion, answer), golden["correct"][name].get<bool>()) << where;
      verdicts.insert(rule.correct(completion, answer));
    }
    EXPECT_EQ(verdicts.size(), 2u) << name;
  }
}

TEST(Scoring, RulesDisagreeWhereTheirAuthorsDo) {
  const std::vector<JudgedCompletion> completions{
      {"#### 5", "#### 5"}, {"#### 5", "It is 5."}, {"#### 5", "#### 6 no, 5"}, {"-5", "#### 5"}};
  const auto scores = score(completions);
  EXPECT_EQ(scores[0].hits, 1);  // gsm8k: only what stands behind the marker
  EXPECT_EQ(scores[1].hits, 1);
  EXPECT_EQ(scores[2].hits, 3);
  EXPECT_EQ(scores[3].hits, 4);  // vllm ignores the sign
  EXPECT_EQ(scores[3].trials, 4);
}

}  // namespace
}  // namespace sluice
