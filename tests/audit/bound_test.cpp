// The bound is zero where nothing rounds, sound where something does, and tight enough to see the
// smallest things that can go wrong.
#include <gtest/gtest.h>

#include <limits>

#include "audit/cases/draw_routing.hpp"
#include "audit/cases/draw_tensors.hpp"
#include "audit/oracle/activation.hpp"
#include "audit/oracle/dot.hpp"
#include "small_audit.hpp"
#include "spec/draw.hpp"

namespace sluice::auditing {
namespace {

RoundedVector known(std::span<const double> values) { return {values, {}, lowest_bit_of(values)}; }

TEST(LowestBit, IsThatOfTheNumberWhateverItsSize) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const double sign : {1.0, -1.0}) {
    EXPECT_EQ(lowest_bit(sign * 1.0), 0);
    EXPECT_EQ(lowest_bit(sign * 0.75), -2);
    EXPECT_EQ(lowest_bit(sign * 40), 3);
    EXPECT_EQ(lowest_bit(sign * (1 + 0x1p-52)), -52);
    EXPECT_EQ(lowest_bit(sign * 0x1p1023), 1023);
    EXPECT_EQ(lowest_bit(sign * 0x1p-1022), -1022);
    EXPECT_EQ(lowest_bit(sign * 0x3p-1074), -1074);  // denormal
    EXPECT_EQ(lowest_bit(sign * 0x6p-1074), -1073);
    EXPECT_EQ(lowest_bit(sign * kInfinity), lowest_bit(sign * 0.0));
  }
  EXPECT_GT(lowest_bit(0.0), 1023);
  EXPECT_GT(lowest_bit(std::numeric_limits<double>::quiet_NaN()), 1023);
}

TEST(Dot, IntegersHaveNoError) {
  const std::vector<float> a{3, -7, 40, 1};
  const std::vector<double> b{2, 5, -1, 0.5};
  const Approx dot = dot_error(a, lowest_bit_of(a), known(b), 4.0, false);
  EXPECT_EQ(dot.value, 6 - 35 - 40 + 0.5 + 4);
  EXPECT_EQ(dot.error, 0.0);
}

TEST(Dot, OneBitTooManyIsNoLongerExact) {
  const std::vector<float> a{0x1p24f, 1};
  const std::vector<double> b{1, 1};  // 2^24 + 1 is no fp32 number
  EXPECT_GT(dot_error(a, lowest_bit_of(a), known(b), 0.0, false).error, 0.0);
}

// A processor may read a denormal operand as zero; the other operand says how much that is.
TEST(Dot, DenormalOperandsMayBeZero) {
  const std::vector<float> a{1.0f, 0x1p-130f};
  const std::vector<double> b{2.0, 0x1p120};
  for (const bool statistical : {false, true}) {
    EXPECT_GE(dot_error(a, lowest_bit_of(a), known(b), 0.0, statistical).error, 0x1p-10);
  }
  const std::vector<float> large{0x1p100f};
  const std::vector<double> denormal{0x1p-130};
  const std::vector<double> smallest_normal{0x1p-126};
  const auto error = [&](std::span<const double> x) {
    return dot_error(large, lowest_bit_of(large), known(x), 0.0, false).error;
  };
  EXPECT_GE(error(denormal), 0x1p-30);
  EXPECT_EQ(error(smallest_normal), 0.0);
}

// Everything between the ends, rounded or not, is within the error; nothing beyond the farther end.
TEST(PerhapsRounded, ReachesToTheFartherOfTheRoundedEnds) {
  Draw draw(12);
  for (const auto& [format, unit] :
       {std::pair{ActivationFormat::bf16, 0x1p-8}, std::pair{ActivationFormat::f16, 0x1p-11}}) {
    const auto nearest = [format = format](double v) {
      const auto single = static_cast<float>(v);
      return format == ActivationFormat::bf16 ? round_to_bf16(single) : round_to_f16(single);
    };
    double widest = 0.0;
    for (int i = 0; i < 2000; ++i) {
      const double value = 3.0 * normal(draw);
      const double error = i % 2 == 0 ? 0.0 : std::fabs(value) * 0x1p-12;
      const double allowed = perhaps_rounded(format, {value, error}).error;
      double most = error;
      for (const double v : {value - error, value, value + error}) {
        most = std::max(most, std::fabs(nearest(v) - value));
      }
      EXPECT_EQ(allowed, most) << value;
      widest = std::max(widest, (allowed - error) / std::fabs(value));
    }
    EXPECT_GT(widest, 0.75 * unit);
    EXPECT_LE(widest, unit * (1 + 0x1p-10));
  }
  EXPECT_EQ(perhaps_rounded(ActivationFormat::f32, {1.0 / 3, 1e-9}).error, 1e-9);
}

// fp32 sums in three orders stay within both tiers; the statistical one is far smaller.
TEST(Dot, HoldsForAnyOrderOfAccumulation) {
  Draw draw(11);
  for (const std::size_t n : {8u, 100u, 1000u, 4096u}) {
    std::vector<float> a(n);
    std::vector<double> b(n);
    for (std::size_t i = 0; i < n; ++i) {
      a[i] = round_to_bf16(static_cast<float>(normal(draw)));
      b[i] = round_to_bf16(static_cast<float>(normal(draw)));
    }
    float forward = 0, backward = 0, lanes[16] = {};
    for (std::size_t i = 0; i < n; ++i) {
      forward += a[i] * static_cast<float>(b[i]);
      backward += a[n - 1 - i] * static_cast<float>(b[n - 1 - i]);
      lanes[i % 16] += a[i] * static_cast<float>(b[i]);
    }
    float laned = 0;
    for (const float lane : lanes) laned += lane;
    const Approx worst = dot_error(a, lowest_bit_of(a), known(b), 0.0, false);
    const Approx usual = dot_error(a, lowest_bit_of(a), known(b), 0.0, true);
    EXPECT_LE(usual.error, worst.error);
    for (const float sum : {forward, backward, laned}) {
      EXPECT_LE(std::fabs(sum - usual.value), usual.error) << n;
      EXPECT_LE(std::fabs(sum - usual.value), 0.5 * usual.error) << "not tight enough to be wrong";
    }
  }
}

// Every token reaches every expert, and each column of H is some token's only one: all weights
// count.
TEST(Bound, NoticesOneUlpInAnyWeight) {
  const Backend& reference = backend("reference");
  Case subject;
  subject.regime = "exact";
  subject.statistical = false;
  subject.spec = neutral_spec({3, 3, 40, 24});
  subject.spec.layer.output_dtype = OutputDType::f32;
  Draw draw(5);
  draw_tensors(subject, {40, DType::bf16, DType::f32, Values::integers}, draw);
  draw_given_routing(subject, DType::i32, DType::f32, true, draw);
  const Oracle oracle(subject);
  ASSERT_TRUE(compare(subject, oracle, run_case(reference, subject, one_thread())).ok());
  for (const char* name : {"gate_up_proj", "down_proj"}) {
    for (int trial = 0; trial < 40; ++trial) {
      Case changed = subject;
      OwnedTensor& matrix = changed.tensors.at(name);
      const std::int64_t at = draw.integer(0, matrix.elements() - 1);
      const float value = matrix.get(at);
      matrix.set(at, bf16_to_float(static_cast<std::uint16_t>(float_to_bf16(value) + 1)));
      const RunResult result = run_case(reference, changed, one_thread());
      EXPECT_FALSE(compare(subject, oracle, result).ok()) << name << "[" << at << "] " << value;
    }
  }
}

TEST(Bound, NoticesOneWrongRowOf8192) {
  const Backend& reference = backend("reference");
  MoeSpec spec = neutral_spec({4, 2, 16, 16});
  Case subject = plain_case(spec, 7, 8192);
  const Oracle oracle(subject);
  RunResult result = run_case(reference, subject, one_thread());
  ASSERT_TRUE(compare(subject, oracle, result).ok());
  for (const std::int64_t row : {0, 4095, 8191}) {
    RunResult wrong = result;
    for (std::int64_t i = 0; i < 16; ++i) {
      wrong.output.set(row * 16 + i, result.output.get(((row + 1) % 8192) * 16 + i));
    }
    const Comparison comparison = compare(subject, oracle, wrong);
    EXPECT_EQ(comparison.token, row);
    EXPECT_EQ(comparison.wrong_tokens, 1);
  }
}

TEST(Bound, NoticesTheSmallestSlotOfOneToken) {
  const Backend& reference = backend("reference");
  MoeSpec spec = neutral_spec({8, 4, 72, 48});
  spec.router.norm_topk_prob = true;
  const Case subject = plain_case(spec, 9, 32);
  const Oracle oracle(subject);
  const RunResult right = run_case(reference, subject, one_thread());
  // The same layer by given routing, with one weight of one token at zero.
  Case given = subject;
  given.tensors.erase("router_logits");
  given.tensors["topk_ids"] = right.ids;
  for (std::int64_t token = 0; token < 32; token += 5) {
    OwnedTensor weights = right.weights;
    weights.set(token * 4 + 3, 0.0f);
    given.tensors["topk_weights"] = weights;
    RunResult lost = run_case(reference, given, one_thread());
    lost.weights = right.weights;  // as reported: only the output tells
    const Comparison comparison = compare(subject, oracle, lost);
    EXPECT_EQ(comparison.token, token);
    EXPECT_EQ(comparison.stage, Stage::expert);
  }
}

class FalseAlarm : public testing::TestWithParam<const char*> {};

TEST_P(FalseAlarm, NoneOnACorrectBackend) {
  const FalseAlarms alarms = count_false_alarms(backend(GetParam()), 4000, 8, quick_options());
  EXPECT_GT(alarms.cases, 100);
  for (const AuditFailure& failure : alarms.failures) {
    ADD_FAILURE() << failure.regime << " seed " << failure.seed << ": " << failure.message;
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, FalseAlarm, testing::Values("reference", "cpu"),
                         [](const auto& param) { return std::string(param.param); });

}  // namespace
}  // namespace sluice::auditing
