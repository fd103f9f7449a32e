// The reference's routing on cases small enough to work out on paper, each at a place where an
// engine is on record as wrong (docs/lost-parameters.md).
#include "backends/reference/routing.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace sluice::reference {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

struct Routed {
  std::vector<std::int64_t> ids;
  std::vector<double> weights;
};

Routed route(const RouterSpec& router, std::vector<double> logits, std::vector<float> bias = {}) {
  const std::size_t experts = logits.size();
  std::vector<double> scores(experts), choice(experts);
  std::vector<double> groups(static_cast<std::size_t>(router.n_group));
  std::vector<std::int64_t> order(experts);
  Routed routed{std::vector<std::int64_t>(static_cast<std::size_t>(router.top_k)),
                std::vector<double>(static_cast<std::size_t>(router.top_k))};
  route_token(router, {{}, bias}, logits, {scores, choice, groups, order}, routed.ids,
              routed.weights);
  return routed;
}

RouterSpec router(std::int64_t experts, std::int64_t top_k, ScoreFunc score_func) {
  RouterSpec spec;
  spec.num_experts = experts;
  spec.top_k = top_k;
  spec.score_func = score_func;
  return spec;
}

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

TEST(ReferenceRouting, SoftmaxBeforeTopKSumsOverAllExperts) {
  const Routed routed =
      route(router(3, 2, ScoreFunc::softmax), {std::log(1.0), std::log(5.0), std::log(2.0)});
  EXPECT_EQ(routed.ids, (std::vector<std::int64_t>{1, 2}));
  EXPECT_NEAR(routed.weights[0], 5.0 / 8, 1e-15);
  EXPECT_NEAR(routed.weights[1], 2.0 / 8, 1e-15);
}

TEST(ReferenceRouting, SoftmaxAfterTopKSumsOverTheChosen) {
  RouterSpec spec = router(3, 2, ScoreFunc::softmax);
  spec.score_order = ScoreOrder::after_topk;
  const Routed routed = route(spec, {std::log(1.0), std::log(5.0), std::log(2.0)});
  EXPECT_NEAR(routed.weights[0], 5.0 / 7, 1e-15);
  EXPECT_NEAR(routed.weights[1], 2.0 / 7, 1e-15);
}

TEST(ReferenceRouting, CorrectionBiasChoosesAndIsNotInTheWeight) {
  RouterSpec spec = router(3, 1, ScoreFunc::sigmoid);
  spec.e_score_correction_bias = true;
  spec.routed_scaling_factor = 2.446;
  const Routed routed = route(spec, {2.0, 0.5, -1.0}, {0.0f, 0.0f, 12.0f});
  EXPECT_EQ(routed.ids[0], 2);
  EXPECT_DOUBLE_EQ(routed.weights[0], 2.446 * sigmoid(-1.0));
  spec.weights_from_biased_scores = true;
  EXPECT_DOUBLE_EQ(route(spec, {2.0, 0.5, -1.0}, {0, 0, 12.0f}).weights[0],
                   2.446 * (sigmoid(-1.0) + 12.0));
}

TEST(ReferenceRouting, MaskedGroupsLoseEvenToNegativeScores) {
  RouterSpec spec = router(4, 2, ScoreFunc::none);
  spec.n_group = 2;
  // Group 0 sums to -3, group 1 to -11: a mask of 0 would choose experts 2 and 3.
  const Routed routed = route(spec, {-1.0, -2.0, -5.0, -6.0});
  EXPECT_EQ(routed.ids, (std::vector<std::int64_t>{0, 1}));
}

TEST(ReferenceRouting, GroupScoresBySumOfTwoAndByMax) {
  RouterSpec spec = router(6, 1, ScoreFunc::none);
  spec.n_group = 2;
  const std::vector<double> logits{5.0, 0.0, 0.0, 4.0, 3.0, -9.0};  // sums 5 and 7, maxima 5 and 4
  EXPECT_EQ(route(spec, logits).ids[0], 3);
  spec.group_score = GroupScore::max;
  EXPECT_EQ(route(spec, logits).ids[0], 0);
}

// A comparison with NaN is no order: what was kept depended on where such a group stood.
TEST(ReferenceRouting, AGroupOfBothInfinitiesCountsAsMinusInfinity) {
  RouterSpec spec = router(8, 2, ScoreFunc::none);
  spec.n_group = 4;
  spec.topk_group = 2;
  EXPECT_EQ(route(spec, {kInf, -kInf, 1, 1, 2, 2, 3, 3}).ids, (std::vector<std::int64_t>{6, 7}));
  EXPECT_EQ(route(spec, {3, 1, -kInf, kInf, 2, 2, 1, 1}).ids, (std::vector<std::int64_t>{0, 4}));
  EXPECT_EQ(route(spec, {kInf, kNan, 1, 1, 2, 2, 3, 3}).ids, (std::vector<std::int64_t>{6, 7}));
}

TEST(ReferenceRouting, TiesGoToTheLowerIdAndZerosTie) {
  const Routed routed = route(router(5, 3, ScoreFunc::none), {-0.0, 0.0, 7.0, 0.0, 7.0});
  EXPECT_EQ(routed.ids, (std::vector<std::int64_t>{2, 4, 0}));
}

TEST(ReferenceRouting, NormalisationRulesDifferWhereTheSumIsSmall) {
  RouterSpec spec = router(4, 2, ScoreFunc::none);
  spec.norm_topk_prob = true;
  spec.norm_eps = 0.5;
  const std::vector<double> logits{0.1, 0.2, -1.0, -1.0};
  EXPECT_NEAR(route(spec, logits).weights[0], 0.2 / 0.8, 1e-15);
  spec.norm_rule = NormRule::clamp;
  EXPECT_NEAR(route(spec, logits).weights[0], 0.2 / 0.5, 1e-15);
  spec.norm_eps = 0.25;
  EXPECT_NEAR(route(spec, logits).weights[0], 0.2 / 0.3, 1e-15);
}

TEST(ReferenceRouting, OneSlotIsNotNormalised) {
  RouterSpec spec = router(3, 1, ScoreFunc::sigmoid);
  spec.norm_topk_prob = true;
  EXPECT_DOUBLE_EQ(route(spec, {0.3, -2.0, 0.1}).weights[0], sigmoid(0.3));
}

TEST(ReferenceRouting, OneSlotIsNormalisedWhereTheSpecSaysSo) {
  RouterSpec spec = router(3, 1, ScoreFunc::sigmoid);
  spec.norm_topk_prob = spec.norm_single_expert = true;
  spec.norm_eps = 0.25;
  spec.routed_scaling_factor = 2.5;
  const double score = sigmoid(0.3);
  EXPECT_DOUBLE_EQ(route(spec, {0.3, -2.0, 0.1}).weights[0], 2.5 * (score / (score + 0.25)));
  spec.norm_topk_prob = false;  // alone it asks for nothing
  EXPECT_DOUBLE_EQ(route(spec, {0.3, -2.0, 0.1}).weights[0], 2.5 * score);
}

TEST(ReferenceRouting, ZeroSumWithoutEpsilonIsZeroNotNan) {
  RouterSpec spec = router(4, 2, ScoreFunc::sigmoid);
  spec.norm_topk_prob = true;
  const Routed routed = route(spec, {-800.0, -900.0, -1000.0, -1100.0});
  EXPECT_EQ(routed.weights, (std::vector<double>{0.0, 0.0}));
}

TEST(ReferenceRouting, FactorOnTheOutputLeavesTheWeightsAlone) {
  RouterSpec spec = router(3, 2, ScoreFunc::sigmoid);
  spec.routed_scaling_factor = 2.826;
  spec.apply_routed_scale_to_output = true;
  EXPECT_DOUBLE_EQ(route(spec, {1.0, 2.0, 3.0}).weights[0], sigmoid(3.0));
}

// A double would carry it to an output that no fp32 weight gives.
TEST(ReferenceRouting, AWeightBeyondFp32IsInfinite) {
  RouterSpec spec = router(4, 3, ScoreFunc::none);
  spec.routed_scaling_factor = -10.0;
  const Routed routed = route(spec, {2.0, 3e38, 3.0, kInf});
  EXPECT_EQ(routed.ids, (std::vector<std::int64_t>{3, 1, 2}));
  EXPECT_EQ(routed.weights, (std::vector<double>{0.0, -kInf, -30.0}));
}

TEST(ReferenceRouting, NanCountsAsMinusInfinityAndIdsStayDistinct) {
  EXPECT_EQ(route(router(4, 3, ScoreFunc::sigmoid), {kNan, 1.0, kNan, 0.5}).ids,
            (std::vector<std::int64_t>{1, 3, 0}));
  const Routed all_nan = route(router(4, 3, ScoreFunc::softmax), {kNan, kNan, kNan, kNan});
  EXPECT_EQ(all_nan.ids, (std::vector<std::int64_t>{0, 1, 2}));
  EXPECT_EQ(all_nan.weights, (std::vector<double>{0.0, 0.0, 0.0}));
}

TEST(ReferenceRouting, ASingleBadScoreWeighsNothingAndSparesTheOthers) {
  RouterSpec spec = router(3, 3, ScoreFunc::sigmoid);
  spec.norm_topk_prob = true;
  const Routed routed = route(spec, {1.0, kNan, -1.0});
  EXPECT_EQ(routed.ids, (std::vector<std::int64_t>{0, 2, 1}));
  EXPECT_NEAR(routed.weights[0] + routed.weights[1], 1.0, 1e-15);
  EXPECT_EQ(routed.weights[2], 0.0);
}

TEST(ReferenceRouting, InfiniteLogitsOfSigmoidAreOneAndZero) {
  const Routed routed = route(router(3, 2, ScoreFunc::sigmoid), {-kInf, kInf, 0.0});
  EXPECT_EQ(routed.ids, (std::vector<std::int64_t>{1, 2}));
  EXPECT_EQ(routed.weights[0], 1.0);
}

TEST(ReferenceRouting, Bf16LogitsDecideTheChoice) {
  RouterSpec spec = router(2, 1, ScoreFunc::softmax);
  const std::vector<double> logits{1.0, 1.0009765625};  // equal once rounded to bf16
  EXPECT_EQ(route(spec, logits).ids[0], 1);
  spec.router_logits_dtype = LogitsDType::bf16;
  EXPECT_EQ(route(spec, logits).ids[0], 0);
}

}  // namespace
}  // namespace sluice::reference
