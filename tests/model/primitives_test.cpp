// Every instruction set's inner loops against double, at sizes with every kind of remainder.
#include "model/blocks/primitives.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "model/fake_model.hpp"

namespace sluice {
namespace {

using testing::random_floats;

struct Table {
  const char* name;
  const Primitives* primitives;
};

std::vector<Table> tables() {
  std::vector<Table> all{{"generic", &kPrimitivesGeneric}};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    all.push_back({"avx2", &kPrimitivesAvx2});
  }
  if (__builtin_cpu_supports("avx512f")) all.push_back({"avx512", &kPrimitivesAvx512});
#endif
  return all;
}

class PrimitivesTest : public ::testing::TestWithParam<Table> {
 protected:
  const Primitives& simd() const { return *GetParam().primitives; }
  std::mt19937 random_{7};
};

// |error| <= gamma(k + 4) sum |a||b|: k products and sums in any order, and a tree over lanes.
void expect_dot(float got, double exact, double magnitude, std::int64_t k) {
  EXPECT_LE(std::abs(got - exact), static_cast<double>(k + 8) * 0x1p-24 * magnitude);
}

TEST_P(PrimitivesTest, MatmulOfEveryRemainderAndStride) {
  for (const std::int64_t m : {1, 2, 5, 9}) {
    for (const std::int64_t n : {1, 3, 8, 17, 64, 83}) {
      for (const std::int64_t k : {1, 4, 31, 64}) {
        const std::int64_t lda = k + 3, ldb = n + 5, ldb_t = k + 2, ldc = n + 7;
        const auto a = random_floats(static_cast<std::size_t>(m * lda), random_);
        const auto b = random_floats(static_cast<std::size_t>(k * ldb), random_);
        std::vector<float> b_t(static_cast<std::size_t>(n * ldb_t));
        for (std::int64_t i = 0; i < n; ++i) {
          for (std::int64_t j = 0; j < k; ++j) b_t[i * ldb_t + j] = b[j * ldb + i];
        }
        for (const bool accumulate : {false, true}) {
          const auto before = random_floats(static_cast<std::size_t>(m * ldc), random_);
          auto c = before, c_t = before, c_tn = before;
          std::vector<float> a_t(static_cast<std::size_t>(k * (m + 1)));
          for (std::int64_t i = 0; i < m; ++i) {
            for (std::int64_t j = 0; j < k; ++j) a_t[j * (m + 1) + i] = a[i * lda + j];
          }
          simd().matmul_tn(m, n, k, a_t.data(), m + 1, b.data(), ldb, c_tn.data(), ldc, accumulate);
          simd().matmul(m, n, k, a.data(), lda, b.data(), ldb, c.data(), ldc, accumulate);
          simd().matmul_nt(m, n, k, a.data(), lda, b_t.data(), ldb_t, c_t.data(), ldc, accumulate);
          ASSERT_EQ(c_tn, c);
          for (std::int64_t i = 0; i < m; ++i) {
            for (std::int64_t j = 0; j < ldc; ++j) {
              const std::int64_t at = i * ldc + j;
              if (j >= n) {
                ASSERT_EQ(c[at], before[at]) << "wrote beyond the row";
                ASSERT_EQ(c_t[at], before[at]);
                continue;
              }
              double exact = accumulate ? before[at] : 0.0, magnitude = std::abs(exact);
              for (std::int64_t d = 0; d < k; ++d) {
                const double product = double{a[i * lda + d]} * b[d * ldb + j];
                exact += product;
                magnitude += std::abs(product);
              }
              expect_dot(c[at], exact, magnitude, k);
              expect_dot(c_t[at], exact, magnitude, k);
            }
          }
        }
      }
    }
  }
}

// Rows and column slices may be computed apart: the state of KDA is, over threads.
TEST_P(PrimitivesTest, MatmulBitsDoNotDependOnTheTile) {
  const std::int64_t m = 7, n = 83, k = 61;
  const auto a = random_floats(m * k, random_), b = random_floats(k * n, random_);
  const auto b_t = random_floats(n * k, random_);
  std::vector<float> whole(m * n), whole_t(m * n);
  simd().matmul(m, n, k, a.data(), k, b.data(), n, whole.data(), n, false);
  simd().matmul_nt(m, n, k, a.data(), k, b_t.data(), k, whole_t.data(), n, false);
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      float one = 0.0f;
      simd().matmul(1, 1, k, a.data() + i * k, k, b.data() + j, n, &one, 1, false);
      ASSERT_EQ(one, whole[i * n + j]);
      simd().matmul_nt(1, 1, k, a.data() + i * k, k, b_t.data() + j * k, k, &one, 1, false);
      ASSERT_EQ(one, whole_t[i * n + j]);
    }
  }
}

TEST_P(PrimitivesTest, ExponentialToThreeUlp) {
  for (const std::size_t n : {1u, 5u, 16u, 1000u}) {
    auto x = random_floats(n, random_, -86.0f, 0.0f);
    x.back() = 0.0f;
    auto y = x;
    double sum = 0.0;
    const float returned = simd().exp_shifted(y.data(), static_cast<std::int64_t>(n), 0.0f);
    for (std::size_t i = 0; i < n; ++i) {
      const double exact = std::exp(double{x[i]});
      EXPECT_LE(std::abs(y[i] - exact), 3 * 0x1p-23 * exact) << x[i];
      sum += exact;
    }
    EXPECT_NEAR(returned, sum, 1e-5 * sum);
    EXPECT_EQ(y.back(), 1.0f);
  }
  std::vector<float> extremes{-std::numeric_limits<float>::infinity(), -200.0f, -1e30f, -0.0f};
  EXPECT_EQ(simd().exp_shifted(extremes.data(), 4, 0.0f), 1.0f);
  EXPECT_EQ(extremes, (std::vector<float>{0.0f, 0.0f, 0.0f, 1.0f}));
  float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(simd().exp_shifted(&nan, 1, 0.0f)));
}

TEST_P(PrimitivesTest, ElementwiseFunctions) {
  const std::size_t n = 77;
  const auto x = random_floats(n, random_, -30.0f, 30.0f), y = random_floats(n, random_);
  std::vector<float> silu(n), decay(n), decayed_x(n), logs(n), gated = y;
  const auto count = static_cast<std::int64_t>(n);
  simd().silu_product(x.data(), y.data(), silu.data(), count);
  simd().sigmoid_product(gated.data(), x.data(), count);
  auto a = x, b = y;  // high parts; low parts that show
  for (std::size_t i = 0; i < n; ++i) a.push_back(x[i] * 0x1p-20f), b.push_back(y[i] * -0x1p-18f);
  simd().decay_product(a.data(), b.data(), y.data(), decay.data(), x.data(), decayed_x.data(),
                       count);
  simd().log_decay(x.data(), y.data(), 1.7f, logs.data(), count);
  double squares = 0.0;
  for (std::size_t i = 0; i < n; ++i) {
    const double sigmoid = 1.0 / (1.0 + std::exp(-double{x[i]}));
    EXPECT_NEAR(silu[i], x[i] * sigmoid * y[i], 1e-6 * std::abs(x[i] * sigmoid * y[i]) + 1e-30);
    EXPECT_NEAR(gated[i], y[i] * sigmoid, 1e-6 * std::abs(y[i] * sigmoid) + 1e-30);
    // The argument is a rounded difference, up to 31: two more roundings of it.
    const double difference = (double{a[i]} - b[i]) + (double{a[n + i]} - b[n + i]);
    const double kept = std::exp(std::min(difference, 0.0)) * y[i];
    EXPECT_NEAR(decay[i], kept, (1e-6 + 2 * 31 * 0x1p-24) * std::abs(kept) + 1e-30);
    const double z = double{x[i] + y[i]};
    EXPECT_NEAR(decayed_x[i], kept / y[i] * x[i], 5e-6 * std::abs(kept / y[i] * x[i]) + 1e-30);
    const double soft = -1.7f * (z > 20.0 ? z : std::log1p(std::exp(z)));
    EXPECT_NEAR(logs[i], soft, 1e-6 * std::abs(soft));
    squares += double{x[i]} * x[i];
  }
  EXPECT_NEAR(simd().sum_squares(x.data(), count), squares, 1e-5 * squares);
  EXPECT_EQ(simd().maximum(x.data(), count), *std::max_element(x.begin(), x.end()));
  EXPECT_EQ(simd().maximum(x.data(), 0), -std::numeric_limits<float>::infinity());
}

INSTANTIATE_TEST_SUITE_P(Isas, PrimitivesTest, ::testing::ValuesIn(tables()),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace sluice
