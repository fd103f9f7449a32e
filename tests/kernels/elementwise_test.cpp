#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "base/float_types.hpp"
#include "kernels/isa_list.hpp"

namespace sluice {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

double silu(double x) { return x / (1 + std::exp(-x)); }
double gelu(double x) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); }
double gelu_tanh(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

std::vector<float> sweep() {
  std::vector<float> values;
  for (float x = -30; x <= 30; x += 0.0371f) values.push_back(x);
  for (float x : {-200.0f, -95.0f, -88.5f, 89.0f, 150.0f, 0.0f, -0.0f, 1e-30f, -1e-30f}) {
    values.push_back(x);
  }
  while (values.size() % 16 != 8) values.push_back(0.5f);  // end inside a block
  return values;
}

std::vector<float> activate(const Isa& isa, ActivationCode activation, std::vector<float> c,
                            std::size_t count, float alpha = 1, float beta = 0, float limit = kInf,
                            const float* bias = nullptr) {
  c.resize(c.size() + 32);  // whole panels
  std::vector<float> out(count);
  isa.activate({c.data(), bias, out.data(), static_cast<std::int64_t>(count), activation,
                RowFormat::f32, alpha, beta, limit});
  return out;
}

// Gates and ups in panels of 16, as GEMM 1 leaves them.
std::vector<float> interleave(const std::vector<float>& gate, const std::vector<float>& up) {
  std::vector<float> c((gate.size() + 15) / 16 * 32);
  for (std::size_t i = 0; i < gate.size(); ++i) {
    c[i / 16 * 32 + i % 16] = gate[i];
    c[i / 16 * 32 + 16 + i % 16] = up[i];
  }
  return c;
}

TEST(Activation, PlainOnesAreAccurate) {
  const std::vector<float> x = sweep();
  const auto check = [&](ActivationCode code, const std::function<double(double)>& truth,
                         double relative) {
    for (const Isa* isa : present_isas()) {
      const auto out = activate(*isa, code, x, x.size());
      for (std::size_t i = 0; i < x.size(); ++i) {
        const double want = truth(x[i]);
        // Below -88 the sigmoid is 0 instead of exp(-88) = 6.1e-39 at most.
        ASSERT_FALSE(!(std::abs(out[i] - want) <= relative * std::abs(want) + 5.4e-37))
            << isa->name << " code " << static_cast<int>(code) << " x " << x[i] << ": " << out[i]
            << " for " << want;
      }
    }
  };
  check(ActivationCode::silu, silu, 6e-7);
  check(
      ActivationCode::relu2, [](double v) { return v > 0 ? v * v : 0.0; }, 6e-8);
  check(
      ActivationCode::identity, [](double v) { return v; }, 0);
}

// Far in the tail the argument of exp is large, and its rounding counts in the relative error.
TEST(Activation, GeluIsAccurateToTheConditionOfItsTail) {
  const std::vector<float> x = sweep();
  for (const Isa* isa : present_isas()) {
    const auto gelu_out = activate(*isa, ActivationCode::gelu, x, x.size());
    const std::vector<float> one(x.size(), 1.0f);
    const auto tanh_out = activate(*isa, ActivationCode::geglu_tanh, interleave(x, one), x.size());
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double v = x[i];
      const double bound = (4 + v * v) * 2e-7;
      ASSERT_FALSE(!(std::abs(gelu_out[i] - gelu(v)) <= bound * std::abs(gelu(v)) + 1e-36))
          << isa->name << " gelu(" << v << ")";
      // tanh loses small results in double too: compare in absolute terms there.
      const double cubic = 1 + 0.08 * std::abs(v * v * v);
      ASSERT_FALSE(!(std::abs(tanh_out[i] - gelu_tanh(v)) <=
                     (4 + cubic) * 2e-7 * std::abs(gelu_tanh(v)) + 1e-15 * std::abs(v)))
          << isa->name << " gelu_tanh(" << v << ")";
    }
  }
}

TEST(Activation, SwigluHonoursAlphaBetaLimitAndBias) {
  const std::vector<float> gate = sweep();
  std::vector<float> up(gate.rbegin(), gate.rend());
  const float alpha = 1.702f, beta = 1.25f, limit = 7.0f;
  std::vector<float> bias(interleave(gate, up).size());
  for (std::size_t i = 0; i < bias.size(); ++i) bias[i] = 0.01f * static_cast<float>(i % 37) - 0.2f;
  for (const Isa* isa : present_isas()) {
    const auto out = activate(*isa, ActivationCode::swiglu, interleave(gate, up), gate.size(),
                              alpha, beta, limit, bias.data());
    for (std::size_t i = 0; i < gate.size(); ++i) {
      const std::size_t at = i / 16 * 32 + i % 16;
      const double g = std::min<double>(gate[i] + bias[at], limit);
      const double u = std::clamp<double>(up[i] + bias[at + 16], -limit, limit);
      const double s = g / (1 + std::exp(-double{alpha} * g));
      const double want = s * (u + beta);
      // The clamped sum u + beta cancels near -beta.
      const double bound = 4e-6 * std::abs(s) * (std::abs(u) + beta) + 1e-34;
      ASSERT_FALSE(!(std::abs(out[i] - want) <= bound))
          << isa->name << " gate " << gate[i] << " up " << up[i] << ": " << out[i] << " for "
          << want;
    }
  }
}

TEST(Activation, SaturatedGatesAreZeroHoweverLargeTheyAre) {
  const std::vector<float> gate = {-1000.0f, -1e19f, -1e20f, -3e38f};
  const std::vector<float> up = {1.0f, 1e19f, 1e18f, 1.0f};
  for (const Isa* isa : present_isas()) {
    for (const ActivationCode code : {ActivationCode::swiglu, ActivationCode::geglu_tanh}) {
      for (const float value : activate(*isa, code, interleave(gate, up), gate.size())) {
        EXPECT_EQ(value, 0.0f) << isa->name;
      }
    }
    for (const float value : activate(*isa, ActivationCode::silu, gate, gate.size())) {
      EXPECT_EQ(value, 0.0f) << isa->name;
    }
    EXPECT_TRUE(std::isnan(activate(*isa, ActivationCode::silu, {-kInf}, 1)[0])) << isa->name;
  }
}

TEST(Activation, NanAndInfinityAreNotHidden) {
  for (const Isa* isa : present_isas()) {
    for (ActivationCode code : {ActivationCode::relu2, ActivationCode::silu, ActivationCode::gelu,
                                ActivationCode::identity}) {
      EXPECT_TRUE(std::isnan(activate(*isa, code, {kNan, 1, 2}, 3)[0])) << isa->name;
      EXPECT_EQ(activate(*isa, code, {kInf, 1, 2}, 3)[0], kInf) << isa->name;
    }
    for (ActivationCode code :
         {ActivationCode::swiglu, ActivationCode::geglu, ActivationCode::geglu_tanh}) {
      const auto out = activate(*isa, code, interleave({kNan, 1, 1}, {1, kNan, 1}), 3, 1, 0, 7);
      EXPECT_TRUE(std::isnan(out[0]) && std::isnan(out[1]) && !std::isnan(out[2])) << isa->name;
    }
  }
}

TEST(Convert, RoundsAsTheScalarDefinition) {
  std::vector<float> from;
  for (std::uint32_t i = 0; i < 40000; ++i) {
    from.push_back(std::bit_cast<float>(i * 107377u + (i << 20)));
  }
  from.insert(from.end(), {kNan, kInf, -kInf, 65504.0f, 65520.0f, 1e-7f, 1.00390625f, 1.01171875f});
  from.push_back(0.3f);  // not a whole block
  const auto count = static_cast<std::int64_t>(from.size());
  for (const Isa* isa : present_isas()) {
    std::vector<std::uint16_t> narrow(from.size());
    std::vector<float> wide(from.size());
    const auto convert = [&](const void* source, RowFormat a, void* to, RowFormat b) {
      isa->convert({source, to, count, a, b, 1.0f});
    };
    for (bool bf16 : {true, false}) {
      const RowFormat format = bf16 ? RowFormat::bf16 : RowFormat::f16;
      const auto rounded = [&](float v) { return bf16 ? round_to_bf16(v) : round_to_f16(v); };
      const auto same = [](float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); };
      convert(from.data(), RowFormat::f32, narrow.data(), format);
      convert(narrow.data(), format, wide.data(), RowFormat::f32);
      for (std::size_t i = 0; i < from.size(); ++i) {
        ASSERT_TRUE(same(wide[i], rounded(from[i]))) << isa->name << " " << from[i];
      }
      convert(from.data(), RowFormat::f32, wide.data(),
              bf16 ? RowFormat::f32_bf16 : RowFormat::f32_f16);
      for (std::size_t i = 0; i < from.size(); ++i) {
        ASSERT_TRUE(same(wide[i], rounded(from[i]))) << isa->name << " " << from[i];
      }
    }
    isa->convert({from.data() + 1, wide.data(), 5, RowFormat::f32, RowFormat::f32, 2.5f});
    for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(wide[i], from[i + 1] * 2.5f);
  }
}

// Where token t's column c lies in a tile, by the definition in isa.hpp.
std::size_t place(std::int64_t tokens, std::int64_t group, std::int64_t t, std::int64_t c) {
  return static_cast<std::size_t>((c / group * tokens + t) * group + c % group);
}

TEST(Pack, InterleavesTheRowsOfATileAndKeepsToIt) {
  for (const Isa* isa : present_isas()) {
    for (std::int64_t cols : {1, 15, 16, 31, 70, 133}) {
      for (std::int64_t tokens : {1, 2, 4, 5, 16, 31}) {
        std::vector<std::vector<float>> rows;
        std::vector<const void*> sources;
        std::vector<float> scales;
        for (std::int64_t t = 0; t < tokens; ++t) {
          rows.emplace_back(static_cast<std::size_t>(cols));
          for (std::size_t c = 0; c < rows.back().size(); ++c) {
            rows.back()[c] = 0.37f * static_cast<float>(c) - 5.1f * static_cast<float>(t) + 1.003f;
          }
          scales.push_back(0.5f + static_cast<float>(t));
        }
        for (const auto& row : rows) sources.push_back(row.data());
        for (std::int64_t group : {1, 2, 32}) {
          const bool bf16 = group > 1;
          const auto padded = static_cast<std::size_t>((cols + group - 1) / group * group * tokens);
          std::vector<std::uint16_t> narrow(padded + 8, 0xbeef);
          std::vector<float> wide(padded + 8, -77.0f);
          void* to = bf16 ? static_cast<void*>(narrow.data()) : wide.data();
          isa->pack({sources.data(), scales.data(), to, tokens, cols, group, RowFormat::f32,
                     bf16 ? RowFormat::bf16 : RowFormat::f32});
          for (std::int64_t t = 0; t < tokens; ++t) {
            for (std::int64_t c = 0; c < cols; ++c) {
              const float want = rows[static_cast<std::size_t>(t)][static_cast<std::size_t>(c)] *
                                 scales[static_cast<std::size_t>(t)];
              const std::size_t at = place(tokens, group, t, c);
              const float got = bf16 ? bf16_to_float(narrow[at]) : wide[at];
              ASSERT_EQ(got, bf16 ? round_to_bf16(want) : want)
                  << isa->name << " group " << group << " token " << t << " column " << c;
            }
          }
          for (std::size_t i = padded; i < padded + 8; ++i) {
            ASSERT_TRUE(bf16 ? narrow[i] == 0xbeef : wide[i] == -77.0f) << isa->name;
          }
        }
      }
    }
  }
}

TEST(Pack, TilesCoverAllTokensAndTheTallestIsLast) {
  for (std::int64_t tallest : {1, 6, 16, 28}) {
    const XLayout layout{tallest, 1};
    for (std::int64_t tokens = 1; tokens < 200; ++tokens) {
      const std::int64_t tiles = tile_count(layout, tokens);
      EXPECT_EQ(tile_begin(tokens, tiles, 0), 0);
      EXPECT_EQ(tile_begin(tokens, tiles, tiles), tokens);
      const std::int64_t last = tokens - tile_begin(tokens, tiles, tiles - 1);
      EXPECT_LE(last, tallest);
      for (std::int64_t i = 0; i < tiles; ++i) {
        const std::int64_t height = tile_begin(tokens, tiles, i + 1) - tile_begin(tokens, tiles, i);
        EXPECT_TRUE(height == last || height == last - 1) << tokens << " in " << tiles;
        EXPECT_GT(height, 0);
      }
    }
  }
}

// Columns 16 to 55 of a tile, as an item in the middle of a row writes them; all tokens in one job.
TEST(Activation, WritesIntoAKernelsLayout) {
  constexpr std::int64_t kFirst = 16, kCount = 40, kStride = 51;
  const auto element = [](std::int64_t t, std::int64_t i) {
    return static_cast<float>(i) + 100.0f * static_cast<float>(t);
  };
  for (const Isa* isa : present_isas()) {
    for (std::int64_t tokens : {1, 3, 4, 7, 28}) {
      std::vector<float> c(static_cast<std::size_t>(tokens * kStride));
      for (std::int64_t t = 0; t < tokens; ++t) {
        for (std::int64_t i = 0; i < 48; ++i) {
          c[static_cast<std::size_t>(t * kStride + i)] = element(t, i);
        }
      }
      for (std::int64_t group : {1, 2, 32}) {
        const RowFormat format = group > 1 ? RowFormat::bf16 : RowFormat::f32;
        const std::int64_t bytes = group > 1 ? 2 : 4;
        std::vector<std::byte> out(static_cast<std::size_t>(64 * tokens * bytes));
        ActivationJob job{c.data(), nullptr, out.data(), kCount, ActivationCode::identity,
                          format,   1.0f,    0.0f,       kInf};
        job.first = kFirst;
        job.group = group;
        job.group_stride = tokens * group * bytes;
        job.tokens = tokens;
        job.c_stride = kStride;
        isa->activate(job);
        for (std::int64_t t = 0; t < tokens; ++t) {
          for (std::int64_t i = 0; i < 64; ++i) {
            const std::size_t at = place(tokens, group, t, i);
            const bool written = i >= kFirst && i < kFirst + kCount;
            const float want = written ? element(t, i - kFirst) : 0.0f;
            const float got =
                group > 1 ? bf16_to_float(reinterpret_cast<const std::uint16_t*>(out.data())[at])
                          : reinterpret_cast<const float*>(out.data())[at];
            ASSERT_EQ(got, group > 1 ? round_to_bf16(want) : want)
                << isa->name << " " << tokens << " tokens, group " << group << " token " << t
                << " column " << i;
          }
        }
      }
    }
  }
}

TEST(Accumulate, WeighsEachRowOntoTheSumOrAfresh) {
  for (const Isa* isa : present_isas()) {
    std::vector<float> sum(21), first(21), second(21);
    for (std::size_t i = 0; i < 21; ++i) {
      sum[i] = static_cast<float>(i);
      first[i] = 2.0f * static_cast<float>(i) + 1;
      second[i] = -3.0f - static_cast<float>(i);
    }
    const float* rows[] = {first.data(), second.data()};
    const float weights[] = {0.5f, 4.0f};
    isa->accumulate({sum.data(), rows, weights, 2, 21, true});
    for (std::size_t i = 0; i < 21; ++i) {
      ASSERT_EQ(sum[i], static_cast<float>(i) + 0.5f * first[i] + 4 * second[i]) << isa->name;
    }
    isa->accumulate({sum.data(), rows + 1, weights, 1, 21, false});
    for (std::size_t i = 0; i < 21; ++i) ASSERT_EQ(sum[i], 0.5f * second[i]) << isa->name;
    isa->accumulate({sum.data(), rows, weights, 0, 21, false});
    for (std::size_t i = 0; i < 21; ++i) ASSERT_EQ(sum[i], 0.0f) << isa->name;
  }
}

// In the order given: (1e8 + 1) - 1e8 is 0 in fp32, (1e8 - 1e8) + 1 is 1.
TEST(Accumulate, KeepsTheOrderOfItsRows) {
  for (const Isa* isa : present_isas()) {
    const std::vector<float> large(16, 1e8f), one(16, 1.0f);
    std::vector<float> sum(16);
    const float* rows[] = {large.data(), one.data(), large.data()};
    const float weights[] = {1.0f, 1.0f, -1.0f};
    isa->accumulate({sum.data(), rows, weights, 3, 16, false});
    EXPECT_EQ(sum[7], 0.0f) << isa->name;
    const float* other[] = {large.data(), large.data(), one.data()};
    const float signs[] = {1.0f, -1.0f, 1.0f};
    isa->accumulate({sum.data(), other, signs, 3, 16, false});
    EXPECT_EQ(sum[7], 1.0f) << isa->name;
  }
}

}  // namespace
}  // namespace sluice
