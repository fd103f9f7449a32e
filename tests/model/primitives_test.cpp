// Every instruction set's inner loops against double, at sizes with every kind of remainder.
#include "model/blocks/primitives.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/float_types.hpp"
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

  struct Weights {
    float factor;
    std::vector<float> weights;
  };
  Weights page_of(const float* scores, std::int64_t first, std::int64_t last,
                  RunningSoftmax& row) const {
    Weights got{-1.0f, std::vector<float>(kSoftmaxPage)};
    simd().softmax_page(scores, first, last, 0.7f, &row, got.weights.data(), &got.factor);
    return got;
  }
  // Groups an odd distance apart, as nobody packs them.
  Weights span_of(const float* scores, std::int64_t first, std::int64_t last, std::int64_t count,
                  RunningSoftmax& row) const {
    constexpr std::int64_t kStride = 3 * kSoftmaxGroup + 5;
    std::vector<float> copy(scores, scores + count);
    std::vector<std::uint16_t> bits(static_cast<std::size_t>(count / kSoftmaxGroup * kStride),
                                    0x7fc0);
    Weights got{-1.0f, {}};
    const SoftmaxSpan span{copy.data(), first, last, count, 0.7f, bits.data(), kStride};
    simd().softmax_spans(&span, 1, &row, &got.factor);
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t at = i / kSoftmaxGroup * kStride + i % kSoftmaxGroup;
      got.weights.push_back(bf16_to_float(bits[static_cast<std::size_t>(at)]));
    }
    return got;
  }
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
  const std::int64_t m = 15, k = 61;
  for (const std::int64_t n : {37, 83}) {
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
}

TEST_P(PrimitivesTest, NormsSumsAndRotations) {
  for (const std::size_t n : {1u, 15u, 64u, 77u}) {
    const auto count = static_cast<std::int64_t>(n);
    const auto x = random_floats(n, random_, -3.0f, 3.0f), y = random_floats(n, random_);
    const auto weight = random_floats(n, random_, 0.5f, 2.0f);
    double squares = 0.0;
    for (const float value : x) squares += double{value} * value;
    auto normed = x, sum = x, scaled = x;
    simd().rms_norm(normed.data(), weight.data(), 0.1f, normed.data(), count);
    simd().add(sum.data(), y.data(), count);
    simd().scale_add(scaled.data(), 0.3f, y.data(), count);
    for (std::size_t i = 0; i < n; ++i) {
      const double exact = weight[i] * x[i] / std::sqrt(squares / static_cast<double>(n) + 0.1);
      EXPECT_NEAR(normed[i], exact, 1e-6 * std::abs(exact));
      EXPECT_EQ(sum[i], x[i] + y[i]);
      EXPECT_NEAR(scaled[i], double{x[i]} * 0.3f + y[i], 4e-7);
    }
    auto turned = x;
    turned.insert(turned.end(), y.begin(), y.end());
    simd().rotate(turned.data(), weight.data(), normed.data(), count);
    for (std::size_t i = 0; i < n; ++i) {
      EXPECT_NEAR(turned[i], double{x[i]} * weight[i] - double{y[i]} * normed[i], 3e-6);
      EXPECT_NEAR(turned[n + i], double{y[i]} * weight[i] + double{x[i]} * normed[i], 3e-6);
    }
  }
}

// Two pages, the first seen in part: weights, sum and factor are those of softmax over both.
TEST_P(PrimitivesTest, SoftmaxPageByPage) {
  const auto scores = random_floats(2 * kSoftmaxPage, random_, -20.0f, 20.0f);
  for (const auto& [first, last] :
       {std::pair<std::int64_t, std::int64_t>{5, 64}, {63, 64}, {0, 1}, {17, 40}, {9, 9}}) {
    for (const bool in_bf16 : {false, true}) {
      RunningSoftmax row{-std::numeric_limits<float>::infinity(), 0.0f};
      double most = -1e300;
      for (std::int64_t page = 0; page < 2; ++page) {
        const std::int64_t from = page == 0 ? first : 0, to = page == 0 ? last : 30;
        const double before = most, sum = row.sum;
        const float* at = scores.data() + page * kSoftmaxPage;
        for (std::int64_t i = from; i < to; ++i) most = std::max(most, 0.7 * at[i]);
        const auto [factor, weights] =
            in_bf16 ? span_of(at, from, to, kSoftmaxPage, row) : page_of(at, from, to, row);
        double added = 0.0;
        for (std::int64_t i = 0; i < kSoftmaxPage; ++i) {
          const double exact = i >= from && i < to ? std::exp(0.7 * at[i] - most) : 0.0;
          EXPECT_NEAR(weights[static_cast<std::size_t>(i)], exact,
                      (in_bf16 ? 0x1p-8 + 2e-5 : 5e-6) * exact);
          added += exact;
        }
        if (from == to) {
          EXPECT_EQ(factor, 1.0f);
          EXPECT_EQ(row.sum, 0.0f);
          continue;
        }
        const double kept = sum == 0.0 ? 0.0 : std::exp(before - most);
        EXPECT_NEAR(factor, kept, 1e-5 * kept);
        EXPECT_NEAR(row.sum, sum * kept + added, 1e-5 * (sum * kept + added));
        const double unit = in_bf16 ? std::log(2.0) : 1.0;
        EXPECT_NEAR(row.maximum * unit, most, 2e-6 * std::abs(most));
      }
    }
  }
}

// What a row does not see may be anything; what it sees and is NaN shows in the sum.
TEST_P(PrimitivesTest, SoftmaxOfNaN) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const bool in_bf16 : {false, true}) {
    std::vector<float> scores(kSoftmaxPage, nan);
    scores[3] = 1.0f;
    scores[5] = std::bit_cast<float>(0x7f800001u);
    RunningSoftmax row{-std::numeric_limits<float>::infinity(), 0.0f};
    const auto weights = [&](std::int64_t last) {
      return (in_bf16 ? span_of(scores.data(), 3, last, kSoftmaxPage, row)
                      : page_of(scores.data(), 3, last, row))
          .weights;
    };
    EXPECT_EQ(weights(4)[3], 1.0f);
    EXPECT_EQ(weights(4)[4], 0.0f);
    EXPECT_EQ(weights(4)[5], 0.0f);
    weights(6);
    EXPECT_TRUE(std::isnan(row.sum));
  }
}

// Not where the span begins or ends, not how its groups lie: only what the row sees.
TEST_P(PrimitivesTest, SoftmaxBitsDoNotDependOnTheSpan) {
  const auto scores = random_floats(8 * kSoftmaxGroup, random_, -20.0f, 20.0f);
  const float* at = scores.data() + 2 * kSoftmaxGroup;
  RunningSoftmax row{-1.0f, 0.5f};
  const auto [factor, weights] = span_of(at, 7, 83, 3 * kSoftmaxGroup, row);
  RunningSoftmax wide{-1.0f, 0.5f};
  const auto [wide_factor, wide_weights] = span_of(scores.data(), 2 * kSoftmaxGroup + 7,
                                                   2 * kSoftmaxGroup + 83, 8 * kSoftmaxGroup, wide);
  EXPECT_EQ(factor, wide_factor);
  EXPECT_EQ(row.maximum, wide.maximum);
  EXPECT_EQ(row.sum, wide.sum);
  for (std::int64_t i = 0; i < 8 * kSoftmaxGroup; ++i) {
    const std::int64_t narrow = i - 2 * kSoftmaxGroup;
    const bool inside = narrow >= 0 && narrow < 3 * kSoftmaxGroup;
    EXPECT_EQ(wide_weights[static_cast<std::size_t>(i)],
              inside ? weights[static_cast<std::size_t>(narrow)] : 0.0f);
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, PrimitivesTest, ::testing::ValuesIn(tables()),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace sluice
