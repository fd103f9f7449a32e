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

// "router_bias" is fewer edits away than the rest of what was begun.
TEST(NearestName, CompletesWhatWasBegun) {
  constexpr std::array<std::string_view, 4> kFields{"router_bias", "routed_scaling_factor_of_all",
                                                    "routed_scaling_factor", "top_k"};
  EXPECT_EQ(nearest_name("routed_scaling", kFields), "routed_scaling_factor");
  EXPECT_EQ(nearest_name("routed_bias", kFields), "router_bias");
  EXPECT_EQ(nearest_name("to", kFields), "");
}

}  // namespace
}  // namespace sluice
