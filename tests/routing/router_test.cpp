#include "routing/router.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sluice/error.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "base/float_types.hpp"
#include "routing/router_truth.hpp"

namespace sluice {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

using test::Truth;
using Case = test::RoutingCase;

struct Outcome {
  std::vector<std::int32_t> ids;
  std::vector<float> weights;
  bool operator==(const Outcome&) const = default;
};

TensorView vector_view(const std::vector<float>& values) {
  if (values.empty()) return {};
  return {values.data(), DType::f32, {static_cast<std::int64_t>(values.size())}, {}};
}

Outcome route(const Case& c, const std::vector<float>& logits, std::int64_t piece = 1 << 20) {
  const Router router(c.spec, vector_view(c.router_bias), vector_view(c.correction_bias));
  const auto tokens = static_cast<std::int64_t>(logits.size()) / c.spec.num_experts;
  const auto slots = static_cast<std::size_t>(tokens * c.spec.top_k);
  Outcome outcome{std::vector<std::int32_t>(slots, -7), std::vector<float>(slots, kNan)};
  std::vector<std::byte> workspace(router.workspace_bytes() + 64);
  auto* aligned = workspace.data() + (64 - reinterpret_cast<std::uintptr_t>(workspace.data()) % 64);
  for (std::int64_t first = 0; first < tokens; first += piece) {
    std::fill(workspace.begin(), workspace.end(), std::byte{0xff});
    router.route({{logits.data(), DType::f32, {tokens, c.spec.num_experts}, {}},
                  first,
                  std::min(first + piece, tokens),
                  outcome.ids,
                  outcome.weights,
                  {aligned, router.workspace_bytes()}});
  }
  return outcome;
}

std::vector<float> draw(std::size_t count, float mean, float spread, std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(mean, spread);
  std::vector<float> values(count);
  for (float& v : values) v = normal(generator);
  return values;
}

// Biased scores and sums of scores carry a few fp32 roundings: closer than this, either choice is
// right. Without them the choice is made on the logits, as exactly as double tells scores apart.
double closest_call(const Case& c) {
  return c.correction_bias.empty() && c.spec.n_group == 1 ? 1e-15 : 1e-6;
}

// Returns how many tokens were too close to call.
int expect_truth(const Case& c, const std::vector<float>& logits, const std::string& what) {
  const Outcome outcome = route(c, logits);
  const auto experts = static_cast<std::size_t>(c.spec.num_experts);
  const auto top_k = static_cast<std::size_t>(c.spec.top_k);
  int close = 0;
  for (std::size_t t = 0; t < logits.size() / experts; ++t) {
    const std::vector<float> row(logits.begin() + static_cast<long>(t * experts),
                                 logits.begin() + static_cast<long>((t + 1) * experts));
    const Truth want = test::truth(c, row);
    if (want.margin < closest_call(c)) {
      ++close;
      continue;
    }
    for (std::size_t s = 0; s < top_k; ++s) {
      EXPECT_EQ(outcome.ids[t * top_k + s], want.ids[s]) << what << " token " << t << " slot " << s;
      const double weight = outcome.weights[t * top_k + s];
      EXPECT_FALSE(!(std::abs(weight - want.weights[s]) <= 1.2e-7 * std::abs(want.weights[s])))
          << what << " token " << t << " slot " << s << ": " << weight << " for "
          << want.weights[s];
    }
    if (testing::Test::HasFailure()) return close;
  }
  return close;
}

RouterSpec sizes(std::int64_t experts, std::int64_t top_k) {
  RouterSpec spec;
  spec.num_experts = experts;
  spec.top_k = top_k;
  spec.routed_scaling_factor = 2.446;
  return spec;
}

TEST(Router, EveryScoreOrderNormAndRegime) {
  struct Regime {
    const char* name;
    float mean, spread;
  };
  for (const Regime regime : {Regime{"usual", 0, 1.5f}, Regime{"all negative", -9, 1.2f},
                              Regime{"deep", -60, 6}, Regime{"wide", 0, 8}}) {
    for (ScoreFunc func :
         {ScoreFunc::softmax, ScoreFunc::sigmoid, ScoreFunc::sqrt_softplus, ScoreFunc::none}) {
      for (ScoreOrder order : {ScoreOrder::before_topk, ScoreOrder::after_topk}) {
        for (int norm = 0; norm < 4; ++norm) {
          Case c{sizes(37, 5), {}, {}};
          c.spec.score_func = func;
          c.spec.score_order = order;
          c.spec.norm_topk_prob = norm > 0;
          c.spec.norm_rule = norm == 3 ? NormRule::clamp : NormRule::add;
          c.spec.norm_eps = norm == 1 ? 0 : 0.05;
          const auto what = fmt::format("{} func {} order {} norm {}", regime.name,
                                        static_cast<int>(func), static_cast<int>(order), norm);
          const int close = expect_truth(c, draw(37 * 40, regime.mean, regime.spread, 5), what);
          EXPECT_LE(close, 2) << what;
          if (HasFailure()) return;
        }
      }
    }
  }
}

TEST(Router, ASingleWeightIsDividedOnlyByNormSingleExpert) {
  for (ScoreFunc func : {ScoreFunc::softmax, ScoreFunc::sigmoid, ScoreFunc::sqrt_softplus}) {
    for (bool single : {false, true}) {
      Case c{sizes(37, 1), {}, {}};
      c.spec.score_func = func;
      c.spec.norm_topk_prob = true;
      c.spec.norm_single_expert = single;
      c.spec.norm_eps = 0.05;
      expect_truth(c, draw(37 * 40, 0, 1.5f, 5), fmt::format("single {}", single));
    }
  }
}

TEST(Router, BiasesChooseAndDoNotWeigh) {
  for (float level : {0.0f, 12.0f, -12.0f}) {
    Case c{sizes(64, 6), draw(64, 0, 1, 1), draw(64, level, 0.3f, 2)};
    c.spec.score_func = ScoreFunc::sigmoid;
    c.spec.router_bias = c.spec.e_score_correction_bias = true;
    c.spec.norm_topk_prob = true;
    c.spec.norm_eps = 1e-20;
    const int close = expect_truth(c, draw(64 * 60, -2, 1, 3), fmt::format("bias at {}", level));
    // Around 12, fp32 scores are 1e-6 apart: the near ties are real.
    EXPECT_LE(close, level == 0 ? 2 : 10);
    c.spec.weights_from_biased_scores = true;
    expect_truth(c, draw(64 * 60, -2, 1, 3), fmt::format("biased weights at {}", level));
    c.spec.weights_from_biased_scores = false;
    c.spec.score_order = ScoreOrder::after_topk;
    expect_truth(c, draw(64 * 60, -2, 1, 4), fmt::format("after top-k, bias at {}", level));
  }
}

TEST(Router, GroupsOfBothKindsWithNegativeScores) {
  for (GroupScore kind : {GroupScore::sum_of_top2, GroupScore::max}) {
    for (std::int64_t kept : {1, 3, 8}) {
      Case c{sizes(64, 7), {}, draw(64, -3, 0.4f, 7)};
      c.spec.score_func = ScoreFunc::sigmoid;
      c.spec.e_score_correction_bias = true;
      c.spec.n_group = 8;
      c.spec.topk_group = kept;
      c.spec.group_score = kind;
      c.spec.norm_topk_prob = true;
      EXPECT_LE(expect_truth(c, draw(64 * 80, 0, 1, 8), fmt::format("{} groups", kept)), 8);
    }
  }
}

TEST(Router, BothPlacementsOfTheFactorAndBf16Logits) {
  Case c{sizes(16, 3), draw(16, 0, 1, 9), {}};
  c.spec.router_bias = true;
  c.spec.apply_routed_scale_to_output = true;
  expect_truth(c, draw(16 * 30, 0, 1, 10), "factor on the output");
  c.spec.apply_routed_scale_to_output = false;
  c.spec.router_logits_dtype = LogitsDType::bf16;
  expect_truth(c, draw(16 * 200, 0, 1, 11), "bf16 logits");  // ties are exact there
}

TEST(Router, SizesUpToItsLimitsAndAnErrorBeyond) {
  for (const auto& [experts, top_k] : {std::pair{1, 1}, {2, 2}, {64, 64}, {256, 8}, {4096, 64}}) {
    Case c{sizes(experts, top_k), {}, {}};
    expect_truth(c, draw(static_cast<std::size_t>(experts) * 4, 0, 1, 12),
                 fmt::format("{} of {}", top_k, experts));
  }
  for (const auto& [experts, top_k] : {std::pair{4097, 8}, {4096, 65}}) {
    try {
      Router(sizes(experts, top_k), {}, {});
      FAIL() << "accepted " << top_k << " of " << experts;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::unsupported);
      EXPECT_NE(std::string(error.what()).find(experts > 4096 ? "4097" : "65"), std::string::npos);
    }
  }
}

TEST(Router, TiesGoToTheLowerIdAndZeroHasNoSign) {
  Case c{sizes(6, 3), {}, {}};
  c.spec.score_func = ScoreFunc::none;
  EXPECT_EQ(route(c, {1, 2, 2, 2, 2, 1}).ids, (std::vector<std::int32_t>{1, 2, 3}));
  EXPECT_EQ(route(c, {-1, -0.0f, 0.0f, -0.0f, 0.0f, -1}).ids, (std::vector<std::int32_t>{1, 2, 3}));
  EXPECT_EQ(route(c, {0, 0, 0, 0, 0, 0}).ids, (std::vector<std::int32_t>{0, 1, 2}));
  c.spec.score_func = ScoreFunc::sigmoid;
  c.spec.n_group = 3;
  c.spec.topk_group = 2;
  EXPECT_EQ(route(c, {1, 1, 1, 1, 1, 1}).ids, (std::vector<std::int32_t>{0, 1, 2}));
}

TEST(Router, WhatIsNotFiniteIsChosenLastAndWeighsNothing) {
  Case c{sizes(5, 3), {}, {}};
  c.spec.score_func = ScoreFunc::sigmoid;
  c.spec.norm_topk_prob = true;
  c.spec.routed_scaling_factor = 2;
  Outcome some = route(c, {kNan, -3, kNan, 1, kNan});
  EXPECT_EQ(some.ids, (std::vector<std::int32_t>{3, 1, 0}));
  EXPECT_EQ(some.weights[2], 0);
  EXPECT_NEAR(some.weights[0] + some.weights[1], 2, 1e-6);
  // -inf has a score, 0, and comes before NaN.
  EXPECT_EQ(route(c, {kNan, -3, -kInf, kNan, kNan}).ids, (std::vector<std::int32_t>{1, 2, 0}));
  const Outcome none = route(c, {kNan, kNan, kNan, kNan, kNan});
  EXPECT_EQ(none, (Outcome{{0, 1, 2}, {0, 0, 0}}));
  // One bad logit spoils a softmax over all.
  c.spec.score_func = ScoreFunc::softmax;
  for (float bad : {kNan, kInf}) {
    EXPECT_EQ(route(c, {1, 2, bad, 4, 5}), (Outcome{{0, 1, 2}, {0, 0, 0}})) << bad;
  }
  EXPECT_EQ(route(c, {-kInf, -kInf, -kInf, -kInf, -kInf}), (Outcome{{0, 1, 2}, {0, 0, 0}}));
  EXPECT_EQ(route(c, {1, -kInf, -kInf, 4, 5}).ids, (std::vector<std::int32_t>{4, 3, 0}));
}

TEST(Router, AGroupOfBothInfinitiesIsChosenLast) {
  Case c{sizes(8, 2), {}, {}};
  c.spec.score_func = ScoreFunc::none;
  c.spec.n_group = 4;
  c.spec.topk_group = 2;
  using Ids = std::vector<std::int32_t>;
  EXPECT_EQ(route(c, {kInf, -kInf, 1, 1, 2, 2, 3, 3}).ids, (Ids{6, 7}));
  EXPECT_EQ(route(c, {3, 1, -kInf, kInf, 2, 2, 1, 1}).ids, (Ids{0, 4}));
  EXPECT_EQ(route(c, {kInf, kNan, 1, 1, 2, 2, 3, 3}).ids, (Ids{6, 7}));
}

// 0 / 0 in the normalisation is no weight, not NaN.
TEST(Router, ScoresTooSmallToAddUpWeighNothing) {
  Case c{sizes(4, 2), {}, {}};
  c.spec.score_func = ScoreFunc::sigmoid;
  c.spec.norm_topk_prob = true;
  EXPECT_EQ(route(c, {-800, -800, -800, -800}).weights, (std::vector<float>{0, 0}));
  // Far below fp32's range the weights still stand to each other as they should.
  const Outcome deep = route(c, {-200, -201, -202, -203});
  EXPECT_EQ(deep.ids, (std::vector<std::int32_t>{0, 1}));
  EXPECT_NEAR(deep.weights[0], 2.446 * 0.7310586, 1e-6);
}

// Only scores that are not finite, and sums of zero, weigh nothing.
TEST(Router, AWeightBeyondFp32IsInfiniteNotZero) {
  Case c{sizes(4, 3), {}, {}};
  c.spec.score_func = ScoreFunc::none;
  c.spec.routed_scaling_factor = -10;
  const Outcome large = route(c, {2, 3e38f, 3, kInf});
  EXPECT_EQ(large.ids, (std::vector<std::int32_t>{3, 1, 2}));
  EXPECT_EQ(large.weights, (std::vector<float>{0, -kInf, -30}));
  c.spec.top_k = 2;
  c.spec.norm_topk_prob = true;
  EXPECT_EQ(route(c, {2, -2, -kInf, -kInf}).weights, (std::vector<float>{0, 0}));
}

TEST(Router, AnySplitOfTheTokensGivesTheSameBits) {
  Case c{sizes(32, 4), {}, draw(32, 0, 0.3f, 20)};
  c.spec.score_func = ScoreFunc::sigmoid;
  c.spec.e_score_correction_bias = true;
  c.spec.n_group = 4;
  c.spec.topk_group = 2;
  const auto logits = draw(32 * 23, 0, 1, 21);
  EXPECT_EQ(route(c, logits), route(c, logits, 1));
  EXPECT_EQ(route(c, logits), route(c, logits, 5));
  EXPECT_TRUE(route(c, {}).ids.empty());
}

TEST(Router, ReadsBf16Logits) {
  Case c{sizes(4, 2), {}, {}};
  const Router router(c.spec, {}, {});
  const std::vector<std::uint16_t> logits{float_to_bf16(1), float_to_bf16(3), float_to_bf16(-1),
                                          float_to_bf16(2)};
  std::vector<std::int32_t> ids(2);
  std::vector<float> weights(2);
  alignas(64) std::byte workspace[4096];
  router.route({{logits.data(), DType::bf16, {1, 4}, {}}, 0, 1, ids, weights, workspace});
  EXPECT_EQ(ids, (std::vector<std::int32_t>{1, 3}));
}

}  // namespace
}  // namespace sluice
