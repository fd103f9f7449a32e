// A real number and how far a correct fp32 computation of it may be off. docs/numerics.md derives
// every formula here.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace sluice::auditing {

inline constexpr double kUnit = 0x1p-24;       // unit roundoff of fp32
inline constexpr double kSmallest = 0x1p-126;  // below: denormal, may be flushed to zero
// exp and its kin may be wrong by this many unit roundoffs, plus |argument| of them for an argument
// that was rounded once on its way into a base-2 exponential.
inline constexpr double kElementary = 4.0;

struct Approx {
  double value = 0.0;
  double error = 0.0;  // absolute; 0: any correct computation gives exactly `value`
};

inline bool is_float(double x) { return static_cast<double>(static_cast<float>(x)) == x; }

// Error of rounding an exactly known real to fp32: none if it is an fp32 number.
inline double rounding_of(double x) {
  if (is_float(x)) return 0.0;
  return kUnit * std::fabs(x) + (std::fabs(x) < 2 * kSmallest ? kSmallest : 0.0);
}

// One fp32 operation whose exact result on the exact operands is `value`, with error `inherited`.
inline Approx rounded(double value, double inherited) {
  if (inherited == 0.0) return {value, rounding_of(value)};
  return {value, inherited + kUnit * (std::fabs(value) + inherited) + kSmallest};
}

inline Approx add(const Approx& a, const Approx& b) {
  return rounded(a.value + b.value, a.error + b.error);
}

inline Approx mul(const Approx& a, const Approx& b) {
  const double inherited =
      std::fabs(a.value) * b.error + std::fabs(b.value) * a.error + a.error * b.error;
  return rounded(a.value * b.value, inherited);
}

// Division may be a multiplication by a reciprocal: two roundings more.
inline Approx div(const Approx& a, const Approx& b) {
  const double value = a.value / b.value;
  const double room = std::fabs(b.value) - b.error;
  if (room <= 0.0) return {value, std::numeric_limits<double>::infinity()};
  const double inherited = (a.error + std::fabs(value) * b.error) / room;
  return {value, inherited + 3 * kUnit * (std::fabs(value) + inherited) + kSmallest};
}

// A double of the spec as fp32 code sees it.
inline Approx constant(double x) { return {x, rounding_of(x)}; }

// Exponent of the lowest set bit: x is a multiple of 2^lowest_bit(x). Large for zero, so that it
// never is the minimum.
inline int lowest_bit(double x) {
  constexpr int kMantissa = 52;  // bits that a double holds of it
  const auto bits = std::bit_cast<std::uint64_t>(x);
  const std::uint64_t mantissa = bits & ((std::uint64_t{1} << kMantissa) - 1);
  const int exponent = static_cast<int>(bits >> kMantissa & 0x7ff);
  if (x == 0.0 || exponent == 0x7ff) return 4096;  // zero, infinity, NaN
  if (exponent == 0) return -1074 + std::countr_zero(mantissa);
  return exponent - 1075 + std::countr_zero(mantissa | std::uint64_t{1} << kMantissa);
}

}  // namespace sluice::auditing
