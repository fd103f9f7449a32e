// Sampling: the cuts keep what Hugging Face's warpers keep, and draws follow the probabilities.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include <sluice/error.hpp>
#include <sluice/generate.hpp>

namespace sluice {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
const float kNan = std::numeric_limits<float>::quiet_NaN();

std::map<std::int32_t, int> draws(const Sampling& sampling, const std::vector<float>& logits,
                                  int count) {
  Sampler sampler(sampling);
  std::map<std::int32_t, int> counts;
  for (int i = 0; i < count; ++i) ++counts[sampler(logits)];
  return counts;
}

std::vector<std::int32_t> drawn_ids(const Sampling& sampling, const std::vector<float>& logits) {
  std::vector<std::int32_t> ids;
  for (const auto& [id, count] : draws(sampling, logits, 4000)) ids.push_back(id);
  return ids;
}

// Probabilities .4 .3 .15 .1 .05 at ids 3 0 4 1 2.
std::vector<float> five() {
  return {std::log(0.3f), std::log(0.1f), std::log(0.05f), std::log(0.4f), std::log(0.15f)};
}

TEST(Sampler, GreedyTakesTheLowestIdOfTheLargest) {
  EXPECT_EQ(greedy_choice(std::vector<float>{1.0f, 3.0f, 3.0f, -kInf}), 1);
  EXPECT_EQ(greedy_choice(std::vector<float>{kNan, -2.0f, kNan, -1.0f}), 3);
  EXPECT_EQ(greedy_choice(std::vector<float>{-kInf, -kInf}), 0);
  EXPECT_THROW(greedy_choice(std::vector<float>{kNan}), Error);
  Sampling greedy;
  greedy.top_k = 1;
  greedy.seed = 5;
  EXPECT_EQ(Sampler(greedy)(five()), 3);
}

TEST(Sampler, FrequenciesFollowTheTemperature) {
  for (const double temperature : {0.5, 1.0, 2.0}) {
    const int count = 40000;
    const auto counts = draws({.temperature = temperature, .seed = 1}, five(), count);
    double total = 0.0;
    for (const float logit : five()) total += std::exp(logit / temperature);
    for (std::int32_t id = 0; id < 5; ++id) {
      const double p = std::exp(five()[static_cast<std::size_t>(id)] / temperature) / total;
      const double deviation = std::sqrt(p * (1 - p) / count);
      EXPECT_NEAR(counts.at(id) / static_cast<double>(count), p, 5 * deviation);
    }
  }
}

TEST(Sampler, CutsKeepTheLikeliest) {
  using Ids = std::vector<std::int32_t>;
  EXPECT_EQ(drawn_ids({.temperature = 1.0, .top_k = 2}, five()), (Ids{0, 3}));
  EXPECT_EQ(drawn_ids({.temperature = 1.0, .top_k = 9}, five()), (Ids{0, 1, 2, 3, 4}));
  // .4 + .3 < .71: the id that crosses the sum stays.
  EXPECT_EQ(drawn_ids({.temperature = 1.0, .top_p = 0.69}, five()), (Ids{0, 3}));
  EXPECT_EQ(drawn_ids({.temperature = 1.0, .top_p = 0.71}, five()), (Ids{0, 3, 4}));
  EXPECT_EQ(drawn_ids({.temperature = 1.0, .top_p = 1e-9}, five()), (Ids{3}));
  // min_p is relative to the likeliest: .25 * .4 = .1 (just above it here).
  EXPECT_EQ(drawn_ids({.temperature = 1.0, .min_p = 0.2501}, five()), (Ids{0, 3, 4}));
  EXPECT_EQ(drawn_ids({.temperature = 1.0, .min_p = 0.2499}, five()), (Ids{0, 1, 3, 4}));
  EXPECT_EQ(drawn_ids({.temperature = 1.0, .min_p = 1.0}, five()), (Ids{3}));
}

TEST(Sampler, CutsComeInTheOrderOfTheirNames) {
  using Ids = std::vector<std::int32_t>;
  // top_p after top_k: of .4 / .85, .3 / .85, .15 / .85 two sum to .82.
  EXPECT_EQ(drawn_ids({.temperature = 1.0, .top_k = 3, .top_p = 0.8}, five()), (Ids{0, 3}));
  EXPECT_EQ(drawn_ids({.temperature = 1.0, .top_p = 0.8}, five()), (Ids{0, 3, 4}));
  // Temperature before top_p: at 4 the five are nearly even, and four are needed for .8.
  EXPECT_EQ(drawn_ids({.temperature = 4.0, .top_p = 0.8}, five()), (Ids{0, 1, 3, 4}));
}

TEST(Sampler, TiesAndLargeVocabularies) {
  const std::vector<float> even(600, 0.25f);
  Sampler sampler({.temperature = 1.0, .top_p = 0.2});
  std::vector<int> counts(600, 0);
  for (int i = 0; i < 3000; ++i) ++counts[static_cast<std::size_t>(sampler(even))];
  for (std::size_t id = 0; id < 600; ++id) EXPECT_EQ(counts[id] > 0, id < 120) << id;
}

TEST(Sampler, InfinitiesAndNan) {
  EXPECT_EQ(drawn_ids({.temperature = 1.0}, {1.0f, kInf, 2.0f, kInf}),
            (std::vector<std::int32_t>{1, 3}));
  EXPECT_EQ(drawn_ids({.temperature = 1.0}, {kNan, 0.0f, -kInf}), (std::vector<std::int32_t>{1}));
  EXPECT_THROW(Sampler({.temperature = 1.0})(std::vector<float>{kNan, kNan}), Error);
}

TEST(Sampler, SeedsDecideAlone) {
  const auto sequence = [](std::uint64_t seed) {
    Sampler sampler({.temperature = 1.0, .seed = seed});
    std::vector<std::int32_t> ids;
    for (int i = 0; i < 12; ++i) ids.push_back(sampler(five()));
    return ids;
  };
  EXPECT_EQ(sequence(7), sequence(7));
  EXPECT_NE(sequence(7), sequence(8));
  // mt19937_64 and 53 bits: the same on every platform.
  EXPECT_EQ(sequence(0), (std::vector<std::int32_t>{0, 4, 0, 3, 3, 0, 3, 2, 3, 4, 2, 3}));
}

TEST(Sampler, RefusesSettingsOutOfRange) {
  const double nan = kNan;
  for (const Sampling& bad :
       {Sampling{.temperature = -1.0}, Sampling{.temperature = nan}, Sampling{.temperature = kInf},
        Sampling{.top_k = -1}, Sampling{.top_p = 0.0}, Sampling{.top_p = 1.1},
        Sampling{.top_p = nan}, Sampling{.min_p = -0.1}, Sampling{.min_p = 2.0}}) {
    EXPECT_THROW(validate(bad), Error);
    EXPECT_THROW(Sampler{bad}, Error);
  }
}

}  // namespace
}  // namespace sluice
