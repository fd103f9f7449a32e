// Scalar conversions of the 8-bit and 4-bit floats of the OCP formats (OFP8 1.0, MX 1.0).
//
//   e4m3 (fn)  s eeee mmm   bias 7   largest 448    no infinity, NaN = s1111111
//   e8m0       eeeeeeee     bias 127 2^-127 … 2^127 NaN = 11111111, no sign, no zero
//   e2m1       s ee m       bias 1   0 .5 1 1.5 2 3 4 6, no infinity, no NaN
//
// Rounding is to nearest, ties to even, and saturates.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>

namespace sluice {

inline constexpr float kLargestE4m3 = 448.0f;
inline constexpr float kLargestE2m1 = 6.0f;

inline float e4m3_to_float(std::uint8_t bits) {
  const int exponent = (bits >> 3) & 0xf;
  const int fraction = bits & 7;
  const float sign = (bits & 0x80) ? -1.0f : 1.0f;
  if ((bits & 0x7f) == 0x7f) return std::copysign(std::nanf(""), sign);
  if (exponent == 0) return sign * static_cast<float>(fraction) * 0x1p-9f;
  return sign * std::ldexp(static_cast<float>(8 + fraction), exponent - 10);
}

inline std::uint8_t float_to_e4m3(float value) {
  const auto sign = static_cast<std::uint8_t>(std::signbit(value) ? 0x80 : 0);
  if (std::isnan(value)) return sign | 0x7f;
  const float magnitude = std::fabs(value);
  if (magnitude >= kLargestE4m3) return sign | 0x7e;
  // Below 2^-6 the spacing is constant, 2^-9; above, it is 2^(exponent - 3).
  int exponent = -6;
  if (magnitude >= 0x1p-6f) exponent = std::ilogb(magnitude);
  const auto steps = static_cast<int>(std::nearbyint(std::ldexp(magnitude, 3 - exponent)));
  // Consecutive codes are consecutive magnitudes, so a carry out of the fraction is just addition.
  const int code = exponent == -6 ? steps : (exponent + 7) * 8 + steps - 8;
  return sign | static_cast<std::uint8_t>(code > 0x7e ? 0x7e : code);
}

inline float e8m0_to_float(std::uint8_t bits) {
  if (bits == 0xff) return std::nanf("");
  return std::ldexp(1.0f, static_cast<int>(bits) - 127);
}

inline float e2m1_to_float(std::uint8_t nibble) {
  constexpr std::array<float, 8> kMagnitudes{0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};
  const float magnitude = kMagnitudes[nibble & 7];
  return (nibble & 8) ? -magnitude : magnitude;
}

inline std::uint8_t float_to_e2m1(float value) {
  const auto sign = static_cast<std::uint8_t>(std::signbit(value) ? 8 : 0);
  const float magnitude = std::fabs(value);
  // Midpoints between neighbours; a tie goes to the even code.
  constexpr std::array<float, 7> kMidpoints{0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5.0f};
  std::uint8_t code = 0;
  for (std::uint8_t i = 0; i < 7; ++i) {
    const bool tie_goes_up = (i & 1) != 0;
    if (magnitude > kMidpoints[i] || (magnitude == kMidpoints[i] && tie_goes_up)) {
      code = static_cast<std::uint8_t>(i + 1);
    }
  }
  return sign | code;
}

}  // namespace sluice
