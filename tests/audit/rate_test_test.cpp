#include "audit/rate_test.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include <sluice/audit.hpp>
#include <sluice/error.hpp>

namespace sluice::auditing {
namespace {

std::string description(std::string_view comparator) {
  return std::string(R"({"name": "small", "tokens": [16],
    "spec": {"router": {"num_experts": 8, "top_k": 2, "norm_topk_prob": true,
                        "routed_scaling_factor": 2.446},
             "experts": {"hidden_size": 256, "intermediate_size": 128}},
    "baseline_omits": [],
    "scales": {"hidden": 0.1, "gate_up": 0.1, "down": 0.1},
    "comparator": )") +
         std::string(comparator) + "}";
}

const RatedMutant& row(const TestRating& rating, std::string_view name) {
  for (const RatedMutant& mutant : rating.mutants) {
    if (mutant.name == name) return mutant;
  }
  throw Error(ErrorKind::internal, "no such mutant");
}

TEST(RateTest, AWideToleranceKillsNeitherZerosNorALostFactor) {
  const TestRating rating = rate_test(description(R"({"kind": "allclose", "atol": 0.1, "rtol": 0.85,
                                "fraction": 0.925})"));
  EXPECT_TRUE(rating.correct_passes);
  EXPECT_FALSE(row(rating, "scale-dropped").killed) << row(rating, "scale-dropped").evidence;
  EXPECT_FALSE(row(rating, "output-zero").killed) << row(rating, "output-zero").evidence;
}

TEST(RateTest, TheBoundKillsBoth) {
  const TestRating rating = rate_test(description(R"({"kind": "bound"})"));
  EXPECT_TRUE(rating.correct_passes) << rating.correct_evidence;
  EXPECT_TRUE(row(rating, "scale-dropped").killed);
  EXPECT_TRUE(row(rating, "output-zero").killed);
  // And says nothing about what its one spec does not have.
  EXPECT_FALSE(row(rating, "clamp-dropped").killed);
}

TEST(RateTest, ACosineIsBlindToScale) {
  const TestRating rating = rate_test(description(R"({"kind": "cosine", "least": 0.99})"));
  EXPECT_FALSE(row(rating, "scale-dropped").killed);
  EXPECT_TRUE(row(rating, "halves-swapped").killed);
}

TEST(RateTest, MisspeltKeysAreErrors) {
  EXPECT_THROW(parse_test(description(R"({"kind": "allclose", "atoll": 0.1})")), Error);
  EXPECT_THROW(parse_test(description(R"({"kind": "close enough"})")), Error);
  EXPECT_THROW(parse_test("{}"), Error);
  EXPECT_THROW(parse_test("[1"), Error);
}

TEST(RateTest, NanIsNeverClose) {
  Comparator comparator;
  comparator.atol = 1e9;
  comparator.fraction = 1.0;
  EXPECT_FALSE(judge(comparator, {std::nanf("")}, {0.0f}).passes);
  comparator.kind = ComparatorKind::max_error;
  comparator.most = 1e9;
  EXPECT_FALSE(judge(comparator, {std::nanf("")}, {0.0f}).passes);
  comparator.kind = ComparatorKind::cosine;
  EXPECT_FALSE(judge(comparator, {std::nanf("")}, {1.0f}).passes);
}

}  // namespace
}  // namespace sluice::auditing
