#include "eval/statistics.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <sluice/eval.hpp>

namespace sluice {
namespace {

TEST(Statistics, WilsonIntervalEqualsThePublishedTable) {
  // R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
  struct Case {
    std::int64_t hits, trials;
    double low, high;
  };
  for (const Case& c : {Case{81, 263, 0.2553, 0.3662}, Case{15, 148, 0.0624, 0.1605},
                        Case{0, 20, 0.0, 0.1611}, Case{1, 29, 0.0061, 0.1718}}) {
    const Proportion proportion{c.hits, c.trials};
    EXPECT_NEAR(proportion.low(), c.low, 5e-5) << c.hits << "/" << c.trials;
    EXPECT_NEAR(proportion.high(), c.high, 5e-5) << c.hits << "/" << c.trials;
    const Proportion mirrored{c.trials - c.hits, c.trials};
    EXPECT_NEAR(mirrored.high(), 1 - proportion.low(), 1e-12);
  }
  EXPECT_TRUE(std::isnan(Proportion{}.value()));
  EXPECT_FALSE(Proportion{}.low() <= 1.0);
}

TEST(Statistics, LikelihoodOfARow) {
  // Probabilities 1/2, 1/4, 1/8, 1/8, far from where exp() of the logits could be taken.
  const float ln2 = std::log(2.0f);
  const std::array<float, 4> logits{1000.0f, 1000.0f - ln2, 1000.0f - 2 * ln2, 1000.0f - 2 * ln2};
  EXPECT_NEAR(negative_log_likelihood(logits, 0), std::log(2.0), 1e-4);
  EXPECT_NEAR(negative_log_likelihood(logits, 3), std::log(8.0), 1e-4);
}

TEST(Statistics, DivergenceIsZeroOnlyBetweenEqualRowsAndNotSymmetric) {
  const std::array<float, 3> p{std::log(0.5f), std::log(0.25f), std::log(0.25f)};
  const std::array<float, 3> q{std::log(0.1f) + 5, std::log(0.6f) + 5, std::log(0.3f) + 5};
  const double p_to_q =
      0.5 * std::log(0.5 / 0.1) + 0.25 * std::log(0.25 / 0.6) + 0.25 * std::log(0.25 / 0.3);
  const double q_to_p =
      0.1 * std::log(0.1 / 0.5) + 0.6 * std::log(0.6 / 0.25) + 0.3 * std::log(0.3 / 0.25);
  EXPECT_NEAR(kl_divergence(p, q), p_to_q, 1e-6);
  EXPECT_NEAR(kl_divergence(q, p), q_to_p, 1e-6);
  EXPECT_EQ(kl_divergence(p, p), 0.0);
}

TEST(Statistics, BrokenLogitsDoNotLookLikeAgreement) {
  const std::array<float, 2> good{0.0f, 1.0f};
  const std::array<float, 2> broken{0.0f, std::numeric_limits<float>::quiet_NaN()};
  EXPECT_TRUE(std::isnan(kl_divergence(good, broken)));
  EXPECT_TRUE(std::isnan(negative_log_likelihood(broken, 0)));
  const std::array<float, 2> one_sided{-std::numeric_limits<float>::infinity(), 0.0f};
  EXPECT_NEAR(kl_divergence(one_sided, good), -std::log(std::exp(1.0) / (1 + std::exp(1.0))), 1e-6);
  EXPECT_EQ(kl_divergence(good, one_sided), std::numeric_limits<double>::infinity());
}

}  // namespace
}  // namespace sluice
