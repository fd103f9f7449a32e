#include "audit/rate_test.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

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

// Whose mutants: the report says, and a backend that refuses the layer rates nothing.
TEST(RateTest, RatesOnTheReferenceUnlessToldOtherwise) {
  const TestRating rating = rate_test(description(R"({"kind": "bound"})"));
  EXPECT_EQ(rating.backend, "reference");
  EXPECT_NE(rating_text(rating).find("mutants of reference"), std::string::npos);
  const TestRating cpu = rate_test(description(R"({"kind": "bound"})"), backend("cpu"));
  EXPECT_EQ(cpu.backend, "cpu");
  EXPECT_TRUE(row(cpu, "scale-dropped").killed);
  std::string scaled = description(R"({"kind": "bound"})");
  const std::string_view width = R"("intermediate_size": 128)";
  scaled.insert(scaled.find(width) + width.size(), R"(, "weight_format": "int4")");
  EXPECT_NO_THROW(rate_test(scaled));
  EXPECT_THROW(rate_test(scaled, backend("cpu")), Error);
}

TEST(RateTest, EndsWhereWhatRunsBetweenCallsThrows) {
  struct Enough {};
  int calls = 0;
  const auto third = [&] {
    if (++calls == 3) throw Enough{};
  };
  const std::string test = description(R"({"kind": "bound"})");
  EXPECT_THROW(rate_test(test, backend("reference"), third), Enough);
  EXPECT_EQ(calls, 3);
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

// Each edit of a good description is refused by a message with the key and the value.
TEST(RateTest, WrongTypesAndRangesNameTheirKey) {
  using Json = nlohmann::json;
  const Json good = Json::parse(
      description(R"({"kind": "allclose", "atol": 0.1, "rtol": 0.85, "fraction": 0.5})"));
  EXPECT_NO_THROW(parse_test(good.dump()));
  const struct {
    const char* key;
    const char* value;
    const char* message;
  } edits[] = {
      {"/tokens", "[1.5]", "\"tokens\" is 1.5; give whole numbers from 1 to 100000"},
      {"/tokens", "[0]", "\"tokens\" is 0"},
      {"/tokens", "[8, -1]", "\"tokens\" is -1"},
      {"/tokens", "[18446744073709551615]", "\"tokens\" is 18446744073709551615"},
      {"/tokens", "[]", "\"tokens\" is []"},
      {"/tokens", "16", "\"tokens\" is 16"},
      {"/tokens", R"(["16"])", "\"tokens\" is \"16\""},
      {"/scales/hidden", "-0.5", "\"scales.hidden\" is -0.5; give a number from 0 to 1e30"},
      {"/scales/bias", "1e39", "\"scales.bias\" is 1e+39"},
      {"/scales/down", "true", "\"scales.down\" is true"},
      {"/comparator/atol", "-0.1", "\"comparator.atol\" is -0.1; give a number, 0 or more"},
      {"/comparator/rtol", "-2", "\"comparator.rtol\" is -2"},
      {"/comparator/rtol", "null", "\"comparator.rtol\" is null"},
      {"/comparator/fraction", "1.5", "\"comparator.fraction\" is 1.5"},
      {"/comparator/least", "-1.5", "\"comparator.least\" is -1.5"},
      {"/comparator/most", "-1", "\"comparator.most\" is -1"},
      {"/comparator/kind", "3", "\"comparator.kind\" is 3; give a text"},
      {"/comparator/relative_to", "[]", "\"comparator.relative_to\" is []"},
      {"/name", "7", "\"name\" is 7; give a text"},
      {"/source", "{}", "\"source\" is {}"},
      {"/seed", "-1", "\"seed\" is -1; give a whole number"},
      {"/seed", "1.5", "\"seed\" is 1.5"},
      {"/baseline_omits", R"("router.norm_topk_prob")", "\"baseline_omits\" is \"router."},
      {"/baseline_omits", "[3]", "\"baseline_omits\" is 3"}};
  for (const auto& edit : edits) {
    Json changed = good;
    changed[Json::json_pointer(edit.key)] = Json::parse(edit.value);
    try {
      parse_test(changed.dump());
      ADD_FAILURE() << edit.key << " " << edit.value << " was accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::user);
      EXPECT_NE(std::string_view(error.what()).find(edit.message), std::string_view::npos)
          << error.what();
    }
  }
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
