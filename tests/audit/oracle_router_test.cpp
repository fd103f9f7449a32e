// The oracle's routing where numbers are not finite: an order must come of it all the same.
#include "audit/oracle/router.hpp"

#include <gtest/gtest.h>

#include <limits>

namespace sluice::auditing {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();
using Ids = std::vector<std::int32_t>;

RouterSpec grouped(std::int64_t experts, ScoreFunc score_func) {
  RouterSpec spec;
  spec.num_experts = experts;
  spec.top_k = 2;
  spec.score_func = score_func;
  return spec;
}

TEST(OracleRouting, AGroupOfBothInfinitiesCountsAsMinusInfinity) {
  RouterSpec spec = grouped(8, ScoreFunc::none);
  spec.n_group = 4;
  spec.topk_group = 2;
  const struct {
    std::vector<float> logits;
    Ids ids;
  } examples[] = {{{kInf, -kInf, 1, 1, 2, 2, 3, 3}, {6, 7}},
                  {{3, 1, -kInf, kInf, 2, 2, 1, 1}, {0, 4}},
                  {{kInf, kNan, 1, 1, 2, 2, 3, 3}, {6, 7}}};
  for (const auto& [logits, ids] : examples) {
    const TokenRouting routing(spec, {}, logits);
    EXPECT_EQ(routing.ids(), ids);
    EXPECT_FALSE(routing.ambiguous());
    EXPECT_EQ(routing.why_wrong(ids), "");
    EXPECT_NE(routing.why_wrong(Ids{2, 3}), "");
  }
}

// Equal but for the place of the NaN: the lower group, with no excuse.
TEST(OracleRouting, GroupsWithNanTieByTheirBestMembers) {
  RouterSpec spec = grouped(8, ScoreFunc::sigmoid);
  spec.n_group = 2;
  const std::vector<float> logits{kNan, 2, 1, 0.5f, 2, 1, 0.5f, kNan};
  const TokenRouting routing(spec, {}, logits);
  EXPECT_EQ(routing.ids(), (Ids{1, 2}));
  EXPECT_FALSE(routing.ambiguous());
  EXPECT_NE(routing.why_wrong(Ids{4, 5}), "");
}

// Scores of all groups within rounding of each other: too many sets to try, and still not any
// choice is right.
TEST(OracleRouting, ManyGroupsThatNobodyTellsApart) {
  RouterSpec spec = grouped(32 * 3, ScoreFunc::sigmoid);
  spec.top_k = 4;
  spec.n_group = 32;
  spec.topk_group = 3;
  std::vector<float> logits;
  for (int group = 0; group < 32; ++group) {
    for (const float logit : {19.0f, 18.5f, 3.0f}) {
      logits.push_back(logit == 3.0f ? logit : logit + 0.01f * static_cast<float>(group));
    }
  }
  const TokenRouting routing(spec, {}, logits);
  EXPECT_TRUE(routing.ambiguous());
  EXPECT_EQ(routing.why_wrong(routing.ids()), "");
  EXPECT_EQ(routing.why_wrong(Ids{0, 1, 30, 61}), "");
  EXPECT_NE(routing.why_wrong(Ids{0, 1, 30, 2}), "");    // 31 is better, and its group kept
  EXPECT_NE(routing.why_wrong(Ids{0, 30, 60, 90}), "");  // of four groups
}

// Were it finite, an output that it makes infinite would be held to a number.
TEST(OracleRouting, AWeightBeyondFp32IsInfinite) {
  RouterSpec spec = grouped(4, ScoreFunc::none);
  spec.routed_scaling_factor = -10;
  const TokenRouting routing(spec, {}, std::vector<float>{2, 3e38f, 3, 1});
  const std::vector<Approx> weights = routing.weights(routing.ids());
  EXPECT_EQ(weights[0].value, -kInf);
  EXPECT_EQ(weights[0].error, 0.0);
  EXPECT_EQ(weights[1].value, -30.0);
}

// fp32 scores tie where double still tells them apart, so that a bias of zeros may change the
// choice of a backend that otherwise compares logits (docs/numerics.md §2). A gap that fp32 sees is
// none.
TEST(OracleRouting, SaturatedSigmoidsMayBeChosenByLogitOrById) {
  RouterSpec spec = grouped(4, ScoreFunc::sigmoid);
  spec.top_k = 1;
  const std::vector<float> logits{18, 20, 25, 3};
  const std::vector<float> zeros(4, 0.0f);
  for (const bool biased : {false, true}) {
    spec.e_score_correction_bias = biased;
    const TokenRouting routing(
        spec, {{}, biased ? std::span<const float>(zeros) : std::span<const float>()}, logits);
    EXPECT_EQ(routing.ids(), Ids{2});
    EXPECT_TRUE(routing.ambiguous());
    EXPECT_EQ(routing.why_wrong(Ids{2}), "");
    EXPECT_EQ(routing.why_wrong(Ids{0}), "");
    EXPECT_NE(routing.why_wrong(Ids{3}), "");
  }
}

}  // namespace
}  // namespace sluice::auditing
