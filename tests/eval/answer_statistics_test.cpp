#include "eval/answer_statistics.hpp"

#include <gtest/gtest.h>

namespace sluice {
namespace {

EvalAnswer answer(std::vector<TokenId> ids, bool right, double nll, double kl,
                  std::int64_t tokens) {
  EvalAnswer made;
  made.ids = std::move(ids);
  made.correct = {right, right, true, false};
  made.gold_nll = nll;
  made.kl = kl;
  made.gold_tokens = tokens;
  return made;
}

TEST(AnswerStatistics, FirstDifferenceCountsTheShorterEnd) {
  const std::vector<TokenId> a{5, 6, 7};
  EXPECT_EQ(first_difference(a, a), std::nullopt);
  EXPECT_EQ(first_difference(a, std::vector<TokenId>{5, 9, 7}), 1);
  EXPECT_EQ(first_difference(a, std::vector<TokenId>{5, 6}), 2);
  EXPECT_EQ(first_difference(std::vector<TokenId>{}, a), 0);
}

TEST(AnswerStatistics, WeighsByTokensAndTakesTheMedianDivergence) {
  const std::vector<EvalAnswer> first{answer({1, 2, 3}, true, 1, 0, 1), answer({4}, true, 1, 0, 1),
                                      answer({5, 5, 5, 5}, true, 1, 0, 1),
                                      answer({6, 6}, true, 1, 0, 1)};
  SubjectReport report;
  report.answers = {answer({1, 2, 3}, true, 2, 0, 10), answer({9}, false, 6, 2, 30),
                    answer({5, 5, 5, 6}, true, 4, 1, 10), answer({6, 5}, false, 0, 0, 50)};
  summarise(report, first);
  EXPECT_EQ(report.accuracy[0].hits, 2);
  EXPECT_EQ(report.accuracy[2].hits, 4);
  EXPECT_EQ(report.accuracy[3].hits, 0);
  EXPECT_EQ(report.accuracy[0].trials, 4);
  EXPECT_DOUBLE_EQ(report.gold_nll, 12.0 / 100);
  EXPECT_DOUBLE_EQ(report.mean_kl, 3.0 / 100);
  EXPECT_EQ(report.identical.hits, 1);
  EXPECT_EQ(report.first_divergence, 1);  // of 0, 1, 3
}

}  // namespace
}  // namespace sluice
