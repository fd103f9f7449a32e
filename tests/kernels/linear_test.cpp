#include "kernels/linear.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <limits>

#include "kernels/isa_list.hpp"
#include "kernels/matrices.hpp"

namespace sluice {
namespace {

using test::gamma;
using test::Matrix;

constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();

struct Case {
  DType x;
  PackedFormat w;
};

constexpr Case kCases[] = {{DType::f32, PackedFormat::f32},
                           {DType::f32, PackedFormat::bf16},
                           {DType::f32, PackedFormat::f16},
                           {DType::bf16, PackedFormat::bf16}};

DType dtype_of(PackedFormat format) {
  if (format == PackedFormat::f32) return DType::f32;
  return format == PackedFormat::bf16 ? DType::bf16 : DType::f16;
}

// Output rows are `stride` apart; the gap and everything beyond must keep its poison.
std::vector<float> product(const Matrix& x, const PackedMatrix& w, std::int64_t stride,
                           Executor& executor, const Isa& isa) {
  std::vector<float> out(static_cast<std::size_t>(x.rows * stride + 8), kPoison);
  const RowsView<float> to{out.data(), x.rows, stride};
  if (x.dtype == DType::f32) {
    linear(w, {reinterpret_cast<const float*>(x.bytes.data()), x.rows, x.cols}, to, executor, &isa);
  } else {
    linear(w, {reinterpret_cast<const std::uint16_t*>(x.bytes.data()), x.rows, x.cols}, to,
           executor, &isa);
  }
  return out;
}

void expect_product(const Matrix& x, const Matrix& w, const std::vector<float>& out,
                    std::int64_t stride, const std::string& what) {
  double worst = 0;
  for (std::int64_t t = 0; t < x.rows; ++t) {
    for (std::int64_t r = 0; r < stride; ++r) {
      const double got = out[static_cast<std::size_t>(t * stride + r)];
      if (r >= w.rows) {
        ASSERT_TRUE(std::isnan(got)) << what << ": wrote beyond row " << t;
        continue;
      }
      double sum = 0;
      double magnitude = 0;
      for (std::int64_t c = 0; c < x.cols; ++c) {
        sum += x.at(t, c) * w.at(r, c);
        magnitude += std::abs(x.at(t, c) * w.at(r, c));
      }
      // fp32 times F32 is summed in double, and rounded once.
      const bool once = x.dtype == DType::f32 && w.dtype == DType::f32;
      const double bound =
          once ? 0x1p-24 * std::abs(sum) + static_cast<double>(x.cols) * 0x1p-52 * magnitude
               : gamma(x.cols + 2) * magnitude;
      ASSERT_FALSE(!(std::abs(got - sum) <= bound))
          << what << ": out[" << t << ", " << r << "] is " << got << ", should be " << sum << " +- "
          << bound;
      if (bound > 0) worst = std::max(worst, std::abs(got - sum) / bound);
    }
  }
  EXPECT_LE(worst, 1.0);
}

TEST(Linear, EveryInstructionSetStaysWithinTheBoundOfEachElement) {
  const auto executor = make_executor(2);
  for (const Isa* isa : present_isas()) {
    for (const Case& c : kCases) {
      for (std::int64_t rows : {8, 40, 136}) {
        for (std::int64_t cols : {1, 8, 31, 40, 64}) {
          const Matrix w(rows, cols, dtype_of(c.w), 7u);
          const TensorView view = w.view();
          const PackedMatrix packed({&view, 1}, c.w, *executor);
          for (std::int64_t tokens : {1, 5, 13, 33}) {
            const Matrix x(tokens, cols, c.x, 11u);
            const auto what = fmt::format("{} x {} w {} T={} R={} C={}", isa->name, to_string(c.x),
                                          to_string(w.dtype), tokens, rows, cols);
            expect_product(x, w, product(x, packed, rows + 3, *executor, *isa), rows + 3, what);
            if (HasFatalFailure()) return;
          }
        }
      }
    }
  }
}

// Token tiles of every height, and the first sizes that need two items of work.
TEST(Linear, EveryNumberOfTokens) {
  const auto executor = make_executor(3);
  const std::int64_t rows = 136;
  const std::int64_t cols = 40;
  for (const Isa* isa : present_isas()) {
    for (const Case& c : kCases) {
      const Matrix w(rows, cols, dtype_of(c.w), 3u);
      const TensorView view = w.view();
      const PackedMatrix packed({&view, 1}, c.w, *executor);
      for (std::int64_t tokens = 0; tokens <= 100; tokens += tokens < 36 ? 1 : 13) {
        const Matrix x(tokens, cols, c.x, 5u);
        expect_product(x, w, product(x, packed, rows, *executor, *isa), rows,
                       fmt::format("{} T={}", isa->name, tokens));
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(Linear, BitsDependNeitherOnWorkersNorOnOtherTokens) {
  const std::int64_t tokens = 101;
  const auto one = make_executor(1);
  for (const Isa* isa : present_isas()) {
    for (const Case& c : kCases) {
      const Matrix w(264, 200, dtype_of(c.w), 13u);
      const TensorView view = w.view();
      const PackedMatrix packed({&view, 1}, c.w, *one);
      const Matrix x(tokens, 200, c.x, 17u);
      const auto whole = product(x, packed, w.rows, *one, *isa);
      for (int workers : {2, 5}) {
        const auto executor = make_executor(workers);
        const auto again = product(x, packed, w.rows, *executor, *isa);
        EXPECT_EQ(0, std::memcmp(whole.data(), again.data(), whole.size() * 4)) << isa->name;
      }
      for (std::int64_t token : {0, 50, 100}) {
        Matrix alone(1, 200, c.x, 0u);
        std::memcpy(alone.bytes.data(), x.bytes.data() + alone.bytes.size() * token,
                    alone.bytes.size());
        const auto row = product(alone, packed, w.rows, *one, *isa);
        EXPECT_EQ(0, std::memcmp(row.data(), whole.data() + token * w.rows, w.rows * 4))
            << isa->name << " token " << token;
      }
    }
  }
}

// Few panels and many tokens for each worker: one worker and two take tokens by themselves, five
// share panels.
TEST(Linear, NarrowProductsOfManyTokens) {
  const std::int64_t tokens = 700;
  for (const Isa* isa : present_isas()) {
    for (const Case& c : kCases) {
      const Matrix w(40, 72, dtype_of(c.w), 31u);
      const TensorView view = w.view();
      const Matrix x(tokens, 72, c.x, 37u);
      std::vector<float> shared;
      for (int workers : {5, 2, 1}) {
        const auto executor = make_executor(workers);
        const PackedMatrix packed({&view, 1}, c.w, *executor);
        const auto out = product(x, packed, w.rows + 3, *executor, *isa);
        if (shared.empty()) {
          expect_product(x, w, out, w.rows + 3, isa->name);
          shared = out;
        }
        EXPECT_EQ(0, std::memcmp(out.data(), shared.data(), out.size() * 4)) << isa->name;
      }
    }
  }
}

// Whatever lies behind a matrix must not be multiplied in: 0 * inf is NaN.
TEST(Linear, WeightsOfOneRowDoNotTouchAnother) {
  const auto executor = make_executor(1);
  for (const Isa* isa : present_isas()) {
    for (const Case& c : kCases) {
      Matrix w(32, 40, dtype_of(c.w), 23u);
      for (std::int64_t col = 0; col < 40; ++col) {
        store_float(w.bytes.data(), w.dtype, 17 * 40 + col, std::numeric_limits<float>::infinity());
      }
      const TensorView view = w.view();
      const PackedMatrix packed({&view, 1}, c.w, *executor);
      const Matrix x(2, 40, c.x, 29u);
      const auto out = product(x, packed, 32, *executor, *isa);
      for (std::int64_t i = 0; i < 64; ++i) {
        EXPECT_EQ(std::isfinite(out[static_cast<std::size_t>(i)]), i % 32 != 17) << isa->name;
      }
    }
  }
}

TEST(Linear, GatedProductIsActivationOfTwoProducts) {
  const auto executor = make_executor(2);
  const std::int64_t width = 72;
  for (const Isa* isa : present_isas()) {
    const Matrix gate(width, 56, DType::bf16, 1u);
    const Matrix up(width, 56, DType::bf16, 2u);
    const auto packed =
        PackedMatrix::gate_up(gate.view(), up.view(), PackedFormat::bf16, *executor);
    for (std::int64_t tokens : {1, 7, 100}) {
      const Matrix x(tokens, 56, DType::f32, 3u);
      std::vector<float> out(static_cast<std::size_t>(tokens * width), kPoison);
      gated_linear(packed, Activation::swiglu,
                   {reinterpret_cast<const float*>(x.bytes.data()), tokens, 56},
                   {out.data(), tokens, width}, *executor, isa);
      for (std::int64_t t = 0; t < tokens; ++t) {
        for (std::int64_t i = 0; i < width; ++i) {
          double g = 0, u = 0, gm = 0, um = 0;
          for (std::int64_t k = 0; k < 56; ++k) {
            g += x.at(t, k) * gate.at(i, k);
            u += x.at(t, k) * up.at(i, k);
            gm += std::abs(x.at(t, k) * gate.at(i, k));
            um += std::abs(x.at(t, k) * up.at(i, k));
          }
          const double silu = g / (1 + std::exp(-g));
          // |silu'| <= 1.1; 8 u for exp, quotient and products.
          const double bound = 1.1 * gamma(57) * gm * (std::abs(u) + gamma(57) * um) +
                               std::abs(silu) * gamma(57) * um + 8 * 0x1p-24 * std::abs(silu * u);
          const double got = out[static_cast<std::size_t>(t * width + i)];
          ASSERT_FALSE(!(std::abs(got - silu * u) <= bound))
              << isa->name << " T=" << tokens << " [" << t << ", " << i << "] " << got << " for "
              << silu * u << " +- " << bound;
        }
      }
    }
  }
}

TEST(Linear, RoundingOnTheWayIsRoundingBefore) {
  const auto executor = make_executor(2);
  for (const Isa* isa : present_isas()) {
    for (const std::int64_t cols : {1, 37, 96}) {
      const Matrix weights(2 * 24, cols, DType::bf16, 3);
      const TensorView view = weights.view();
      const PackedMatrix w(std::span(&view, 1), PackedFormat::bf16, *executor);
      const Matrix gate(24, cols, DType::bf16, 4), up(24, cols, DType::bf16, 5);
      const auto gate_up =
          PackedMatrix::gate_up(gate.view(), up.view(), PackedFormat::bf16, *executor);
      for (const std::int64_t rows : {1, 5, 40, 600}) {
        const Matrix x(rows, cols, DType::f32, 6);
        std::vector<std::uint16_t> rounded(x.values.size());
        convert_to_bf16(x.values.data(), rounded.data(), std::ssize(x.values));
        const RowsView<const float> given{x.values.data(), rows, cols};
        const RowsView<const std::uint16_t> before{rounded.data(), rows, cols};

        std::vector<float> out(static_cast<std::size_t>(rows * 48), kPoison), expected = out;
        linear_of_rounded(w, given, {out.data(), rows, 48}, *executor, isa);
        linear(w, before, {expected.data(), rows, 48}, *executor, isa);
        EXPECT_EQ(out, expected) << isa->name << " " << rows << " x " << cols;

        std::vector<std::uint16_t> gated(static_cast<std::size_t>(rows * 24), 0x7fc0),
            gated_expected = gated;
        gated_linear_of_rounded(gate_up, Activation::swiglu, given, {gated.data(), rows, 24},
                                *executor, isa);
        gated_linear(gate_up, Activation::swiglu, before, {gated_expected.data(), rows, 24},
                     *executor, isa);
        EXPECT_EQ(gated, gated_expected) << isa->name << " " << rows << " x " << cols;
      }
    }
  }
}

TEST(Linear, RefusesBf16ActivationsOnOtherWeights) {
  const auto executor = make_executor(1);
  const Matrix w(8, 8, DType::f32, 1u);
  const TensorView view = w.view();
  const PackedMatrix packed({&view, 1}, PackedFormat::f32, *executor);
  const std::vector<std::uint16_t> x(8);
  std::vector<float> out(8);
  EXPECT_THROW(linear(packed, RowsView<const std::uint16_t>{x.data(), 1, 8},
                      RowsView<float>{out.data(), 1, 8}, *executor),
               Error);
}

}  // namespace
}  // namespace sluice
