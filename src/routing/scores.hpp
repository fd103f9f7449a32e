// The score functions, for one number and for a row.
#pragma once

#include <algorithm>
#include <cmath>
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

// sqrt(log(1 + exp(x))) without overflow or cancellation.
template <typename T>
T sqrt_softplus(T x) {
  return std::sqrt(std::max(x, T{0}) + std::log1p(std::exp(-std::abs(x))));
}

// What softmax needs of a row: score = exp(x - maximum) / total. A NaN or +inf logit, or a row of
// -inf, makes the total NaN and with it every score of the row.
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
  for (std::size_t i = 0; i < logits.size(); ++i) {
    exps[i] = std::exp(logits[i] - maximum);
    row.total += exps[i];
  }
  return row;
}

}  // namespace sluice
