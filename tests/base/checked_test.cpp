#include "base/checked.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

namespace sluice {
namespace {

constexpr auto kMax = std::numeric_limits<std::int64_t>::max();

TEST(Checked, AnswersOverflowInsteadOfWrapping) {
  EXPECT_EQ(checked_add<std::int64_t>(kMax - 1, 1), kMax);
  EXPECT_FALSE(checked_add<std::int64_t>(kMax, 1));
  EXPECT_EQ(checked_mul<std::int64_t>(std::int64_t{1} << 31, std::int64_t{1} << 31),
            std::int64_t{1} << 62);
  EXPECT_FALSE(checked_mul<std::int64_t>(std::int64_t{1} << 32, std::int64_t{1} << 31));
  EXPECT_FALSE((checked_mul<std::uint64_t>(std::uint64_t{1} << 33, std::uint64_t{1} << 31)));
}

TEST(Checked, CastRefusesWhatDoesNotFit) {
  EXPECT_EQ((checked_cast<std::int32_t>(std::int64_t{-5})), -5);
  EXPECT_FALSE((checked_cast<std::int32_t>(std::int64_t{1} << 31)));
  EXPECT_FALSE((checked_cast<std::uint64_t>(std::int64_t{-1})));
  EXPECT_FALSE((checked_cast<std::int64_t>(std::numeric_limits<std::uint64_t>::max())));
}

}  // namespace
}  // namespace sluice
