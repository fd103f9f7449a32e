// The score functions, for one number and for a row.
//
// Rows use an exp that compilers turn into vectors of the baseline instruction set: the same bits
// on every machine, and no part of a decode step's latency.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>

#include <sluice/spec.hpp>

namespace sluice {

// Both branches equal 1 / (1 + exp(-x)); neither overflows, and small results keep their bits.
template <typename T>
T sigmoid(T x) {
  if (x >= 0) return 1 / (1 + std::exp(-x));
  const T e = std::exp(x);
  return e / (1 + e);
}

// exp(x) within 2 ulp for -87 <= x <= 0, held at exp(-87) below; NaN stays NaN.
// x = n ln 2 + r with |r| <= 0.35; the series to r^7 leaves r^8 / 8! < 6e-9.
inline float exp_of_negative(float x) {
  x = x < -87.0f ? -87.0f : x;
  constexpr float kRound = 0x1.8p23f;  // adding it leaves the nearest integer in the low bits
  const float shifted = x * 0x1.715476p+0f + kRound;
  const float n = shifted - kRound;
  // ln 2 in two parts; the first has few enough bits that n times it is exact.
  const float r = (x - n * 0x1.62e400p-1f) - n * 0x1.7f7d1cp-20f;
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const std::uint32_t exponent =
      std::bit_cast<std::uint32_t>(shifted) - std::bit_cast<std::uint32_t>(kRound) + 127u;
  return p * std::bit_cast<float>(exponent << 23);
}

// sigmoid() of every logit. Below -87 the row's exp no longer tells logits apart: libm's does.
inline void sigmoid_row(std::span<const float> logits, std::span<float> scores) {
  const float* x = logits.data();
  float* out = scores.data();
  const std::size_t count = logits.size();
  int low = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const float e = exp_of_negative(-std::abs(x[i]));
    out[i] = (x[i] < 0.0f ? e : 1.0f) / (1.0f + e);
    low |= x[i] < -87.0f;
  }
  if (low == 0) return;
  for (std::size_t i = 0; i < count; ++i) {
    if (x[i] < -87.0f) out[i] = sigmoid(x[i]);
  }
}

// sqrt(log(1 + exp(x))) without overflow or cancellation.
template <typename T>
T sqrt_softplus(T x) {
  return std::sqrt(std::max(x, T{0}) + std::log1p(std::exp(-std::abs(x))));
}

// What softmax needs of a row: score = exp(x - maximum) / total. A NaN or +inf logit, or a row of
// -inf, makes the total NaN and with it every score of the row. Exponentials below exp(-87) are
// held there: beside the largest, which is 1, even 4096 of them vanish.
struct SoftmaxRow {
  double maximum = -std::numeric_limits<double>::infinity();
  double total = 0.0;
  double score(double logit) const { return std::exp(logit - maximum) / total; }
};

// Writes exp(x - maximum) to `exps`, which may be `logits`.
inline SoftmaxRow softmax_row(std::span<const float> logits, std::span<float> exps) {
  float maximum = -std::numeric_limits<float>::infinity();
  for (const float logit : logits) maximum = logit > maximum ? logit : maximum;
  SoftmaxRow row{maximum, 0.0};
  for (std::size_t i = 0; i < logits.size(); ++i) exps[i] = exp_of_negative(logits[i] - maximum);
  for (const float e : exps) row.total += e;
  return row;
}

}  // namespace sluice
