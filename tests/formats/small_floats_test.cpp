#include "formats/small_floats.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

namespace sluice {
namespace {

TEST(SmallFloats, E4m3KnownCodes) {
  EXPECT_EQ(e4m3_to_float(0x00), 0.0f);
  EXPECT_TRUE(std::signbit(e4m3_to_float(0x80)));
  EXPECT_EQ(e4m3_to_float(0x01), 0x1p-9f);      // smallest subnormal
  EXPECT_EQ(e4m3_to_float(0x07), 7 * 0x1p-9f);  // largest subnormal
  EXPECT_EQ(e4m3_to_float(0x08), 0x1p-6f);      // smallest normal
  EXPECT_EQ(e4m3_to_float(0x38), 1.0f);
  EXPECT_EQ(e4m3_to_float(0xbc), -1.5f);
  EXPECT_EQ(e4m3_to_float(0x7e), 448.0f);
  EXPECT_TRUE(std::isnan(e4m3_to_float(0x7f)));
  EXPECT_TRUE(std::isnan(e4m3_to_float(0xff)));
}

TEST(SmallFloats, E4m3RoundTripsEveryCode) {
  for (int code = 0; code < 256; ++code) {
    const auto bits = static_cast<std::uint8_t>(code);
    EXPECT_EQ(float_to_e4m3(e4m3_to_float(bits)), bits) << code;
  }
}

// Nearest, ties to even, from the definition: compare with both neighbours of every interval.
TEST(SmallFloats, E4m3RoundsToNearestEven) {
  for (int code = 0; code < 0x7e; ++code) {
    const float below = e4m3_to_float(static_cast<std::uint8_t>(code));
    const float above = e4m3_to_float(static_cast<std::uint8_t>(code + 1));
    const float middle = (below + above) / 2;  // exact: one more bit than e4m3 has
    EXPECT_EQ(float_to_e4m3(std::nextafterf(middle, 0.0f)), code);
    EXPECT_EQ(float_to_e4m3(std::nextafterf(middle, 1000.0f)), code + 1);
    EXPECT_EQ(float_to_e4m3(middle), code % 2 == 0 ? code : code + 1);
    EXPECT_EQ(float_to_e4m3(-middle), 0x80 | (code % 2 == 0 ? code : code + 1));
  }
  EXPECT_EQ(float_to_e4m3(1e30f), 0x7e);
  EXPECT_EQ(float_to_e4m3(-std::numeric_limits<float>::infinity()), 0xfe);
  EXPECT_EQ(float_to_e4m3(std::nanf("")), 0x7f);
}

TEST(SmallFloats, E8m0IsAPowerOfTwo) {
  EXPECT_EQ(e8m0_to_float(127), 1.0f);
  EXPECT_EQ(e8m0_to_float(130), 8.0f);
  EXPECT_EQ(e8m0_to_float(0), 0x1p-127f);
  EXPECT_EQ(e8m0_to_float(254), 0x1p127f);
  EXPECT_TRUE(std::isnan(e8m0_to_float(255)));
}

TEST(SmallFloats, E2m1CodesAndTies) {
  const std::vector<float> magnitudes{0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  for (int code = 0; code < 16; ++code) {
    const auto nibble = static_cast<std::uint8_t>(code);
    const float value = e2m1_to_float(nibble);
    EXPECT_EQ(std::fabs(value), magnitudes[nibble & 7]);
    EXPECT_EQ(float_to_e2m1(value), nibble);
  }
  for (int code = 0; code < 7; ++code) {
    const float middle = (magnitudes[static_cast<std::size_t>(code)] +
                          magnitudes[static_cast<std::size_t>(code) + 1]) /
                         2;
    EXPECT_EQ(float_to_e2m1(middle), code % 2 == 0 ? code : code + 1) << middle;
    EXPECT_EQ(float_to_e2m1(std::nextafterf(middle, 9.0f)), code + 1);
    EXPECT_EQ(float_to_e2m1(std::nextafterf(-middle, 0.0f)), 8 + code);
  }
  EXPECT_EQ(float_to_e2m1(100.0f), 7);
}

}  // namespace
}  // namespace sluice
