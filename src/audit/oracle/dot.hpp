// The inner product and its forward error bound, in two tiers. Derivation: docs/numerics.md §3, §4.
#pragma once

#include <span>

#include "audit/oracle/approx.hpp"

namespace sluice::auditing {

// Confidence of the statistical tier: a sum of independent errors exceeds this many of its
// standard deviations with probability below 2 exp(-lambda²/2) = 3e-14 (Hoeffding).
inline constexpr double kLambda = 8.0;
// The same for partial sums of values in random order (Serfling).
inline constexpr double kPartialSums = 6.0;

// A vector whose elements are known up to `slack`: what rounding to a narrow format may have
// flipped. slack empty: known exactly.
struct RoundedVector {
  std::span<const double> values;
  std::span<const double> slack;
  int lowest = 4096;  // min lowest_bit over values

  bool exact() const { return slack.empty(); }
};

// sum a_i b_i + bias, accumulated in fp32 in any order, products rounded or not.
Approx dot_error(std::span<const float> a, int a_lowest, const RoundedVector& b, double bias,
                 bool statistical);

// min of lowest_bit over a row.
int lowest_bit_of(std::span<const float> row);
int lowest_bit_of(std::span<const double> row);

}  // namespace sluice::auditing
