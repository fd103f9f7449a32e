// Every 16-bit pattern goes to fp32 and back; rounding is checked against its definition: the
// nearest representable value, the even pattern in a tie.
#include "base/float_types.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <functional>

namespace sluice {
namespace {

struct Format {
  const char* name;
  std::function<float(std::uint16_t)> widen;
  std::function<std::uint16_t(float)> round;
  std::uint16_t infinity;
};

const Format kBf16{"bf16", bf16_to_float, float_to_bf16, 0x7f80};
const Format kF16{"f16", f16_to_float, float_to_f16, 0x7c00};

class FloatType : public testing::TestWithParam<const Format*> {};

TEST_P(FloatType, EveryPatternSurvivesTheRoundTrip) {
  const Format& format = *GetParam();
  for (std::uint32_t pattern = 0; pattern < 0x10000; ++pattern) {
    const float value = format.widen(static_cast<std::uint16_t>(pattern));
    const std::uint16_t back = format.round(value);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(format.widen(back))) << std::hex << pattern;
      EXPECT_EQ(back & 0x8000, static_cast<int>(pattern & 0x8000));
    } else {
      ASSERT_EQ(back, pattern) << format.name << std::hex << pattern;
    }
  }
}

TEST_P(FloatType, RoundsToNearestAndTiesToEven) {
  const Format& format = *GetParam();
  for (std::uint32_t pattern = 0; pattern + 1 < format.infinity; ++pattern) {
    const auto low = static_cast<std::uint16_t>(pattern);
    const auto high = static_cast<std::uint16_t>(pattern + 1);
    const float a = format.widen(low);
    const float b = format.widen(high);
    const float middle = a + (b - a) / 2;  // exact: one more bit than either
    const std::uint16_t even = (pattern & 1) == 0 ? low : high;
    ASSERT_EQ(format.round(middle), even) << format.name << std::hex << pattern;
    ASSERT_EQ(format.round(std::nextafterf(middle, a)), low) << std::hex << pattern;
    ASSERT_EQ(format.round(std::nextafterf(middle, b)), high) << std::hex << pattern;
    ASSERT_EQ(format.round(-middle), even | 0x8000) << std::hex << pattern;
  }
}

TEST_P(FloatType, OverflowsToInfinity) {
  const Format& format = *GetParam();
  EXPECT_EQ(format.round(INFINITY), format.infinity);
  EXPECT_EQ(format.round(-3.4e38f) & 0x7fff, format.name[0] == 'b' ? 0x7f80 : 0x7c00);
}

INSTANTIATE_TEST_SUITE_P(Types, FloatType, testing::Values(&kBf16, &kF16),
                         [](const auto& info) { return std::string(info.param->name); });

}  // namespace
}  // namespace sluice
