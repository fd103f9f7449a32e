#include "layer/router_linear.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace sluice {
namespace {

struct Case {
  std::int64_t tokens, experts, hidden;
};

std::vector<float> normals(std::int64_t count, std::uint32_t seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = normal(engine);
  return values;
}

std::vector<float> logits_of(const Case& c, const std::vector<float>& weight, const float* hidden,
                             std::int64_t tokens, int threads) {
  RouterLinear router({weight.data(), DType::f32, {c.experts, c.hidden}, {}},
                      make_executor(threads));
  std::vector<float> logits(static_cast<std::size_t>(tokens * c.experts), NAN);
  router.forward({hidden, DType::f32, {tokens, c.hidden}, {}}, logits.data());
  return logits;
}

class RouterLinearCases : public ::testing::TestWithParam<Case> {};

TEST_P(RouterLinearCases, StaysWithinItsBoundOfTheExactProduct) {
  const Case c = GetParam();
  const auto weight = normals(c.experts * c.hidden, 1);
  const auto hidden = normals(c.tokens * c.hidden, 2);
  const auto logits = logits_of(c, weight, hidden.data(), c.tokens, 2);
  for (std::int64_t token = 0; token < c.tokens; ++token) {
    for (std::int64_t expert = 0; expert < c.experts; ++expert) {
      double exact = 0.0;
      double magnitude = 0.0;
      for (std::int64_t i = 0; i < c.hidden; ++i) {
        const double product =
            static_cast<double>(weight[static_cast<std::size_t>(expert * c.hidden + i)]) *
            hidden[static_cast<std::size_t>(token * c.hidden + i)];
        exact += product;
        magnitude += std::abs(product);
      }
      const double error =
          std::abs(logits[static_cast<std::size_t>(token * c.experts + expert)] - exact);
      EXPECT_TRUE(error <= 67 * 0x1p-24 * magnitude) << token << ", " << expert << ": " << error;
    }
  }
}

TEST_P(RouterLinearCases, BitsDependOnNeitherThreadsNorCompany) {
  const Case c = GetParam();
  const auto weight = normals(c.experts * c.hidden, 3);
  const auto hidden = normals(c.tokens * c.hidden, 4);
  const auto together = logits_of(c, weight, hidden.data(), c.tokens, 1);
  EXPECT_EQ(logits_of(c, weight, hidden.data(), c.tokens, 3), together);
  for (std::int64_t token = 0; token < c.tokens; ++token) {
    const auto alone = logits_of(c, weight, hidden.data() + token * c.hidden, 1, 2);
    EXPECT_TRUE(std::equal(alone.begin(), alone.end(), together.begin() + token * c.experts))
        << token;
  }
}

// Around the tiles: 4 tokens, 32 experts, chunks of 512 columns, vectors of 8.
INSTANTIATE_TEST_SUITE_P(Shapes, RouterLinearCases,
                         ::testing::Values(Case{1, 1, 8}, Case{3, 31, 504}, Case{4, 32, 512},
                                           Case{5, 33, 520}, Case{9, 65, 1040}),
                         [](const auto& info) {
                           const Case& c = info.param;
                           return fmt::format("{}_tokens_{}_experts_{}_wide", c.tokens, c.experts,
                                              c.hidden);
                         });

}  // namespace
}  // namespace sluice
