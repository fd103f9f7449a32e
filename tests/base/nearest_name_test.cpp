#include "base/nearest_name.hpp"

#include <gtest/gtest.h>

#include <array>

namespace sluice {
namespace {

constexpr std::array<std::string_view, 3> kNames{"top_k", "n_group", "topk_group"};

TEST(NearestName, FindsSlipsAndIgnoresTheRest) {
  EXPECT_EQ(nearest_name("topk", kNames), "top_k");
  EXPECT_EQ(nearest_name("n_groups", kNames), "n_group");
  EXPECT_EQ(nearest_name("temperature", kNames), "");
  EXPECT_EQ(nearest_name(std::string(100000, 'n'), kNames), "");
  EXPECT_EQ(did_you_mean("topk", kNames), " (did you mean \"top_k\"?)");
  EXPECT_EQ(did_you_mean("zzzzzz", kNames), "");
}

}  // namespace
}  // namespace sluice
