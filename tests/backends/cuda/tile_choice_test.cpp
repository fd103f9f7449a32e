#include "backends/cuda/tile_choice.hpp"

#include <gtest/gtest.h>

#include "backends/cuda/params.hpp"
#include "backends/cuda/route_choice.hpp"

namespace sluice::cuda {
namespace {

TEST(CudaTileChoice, WidensWithTheTokensOfAnAverageExpert) {
  const auto tile = [](std::int64_t tokens) { return choose_ffn({tokens, 8, 256, true}); };
  EXPECT_EQ(tile(1), FfnTile::rows64_tokens32);
  EXPECT_EQ(tile(256), FfnTile::rows64_tokens32);
  EXPECT_EQ(tile(1024), FfnTile::rows128_tokens64);
  EXPECT_EQ(tile(2048), FfnTile::rows128_tokens160);
  EXPECT_EQ(tile(4096), FfnTile::rows128_tokens256);
}

TEST(CudaTileChoice, GeneralActivationsHaveNoWideTiles) {
  for (std::int64_t tokens = 1; tokens <= 65536; tokens *= 2) {
    EXPECT_LE(max_groups(choose_ffn({tokens, 8, 128, false})), 8) << tokens;
  }
}

TEST(CudaTileChoice, FewExpertsFillWideTilesEarly) {
  EXPECT_EQ(choose_ffn({1024, 2, 8, true}), FfnTile::rows128_tokens256);
  EXPECT_EQ(choose_ffn({1024, 2, 512, true}), FfnTile::rows64_tokens32);
}

TEST(CudaSortBlocks, TheSizeAskedForCoversEveryCountAndGrows) {
  std::int64_t before = 0;
  for (std::int64_t tokens = 1; tokens <= 6000; ++tokens) {
    const std::int64_t most = max_sort_blocks(tokens);
    EXPECT_GE(most, ceil_div(tokens, sort_tokens(tokens))) << tokens;
    EXPECT_GE(most, before) << tokens;
    before = most;
  }
}

TEST(CudaRouteChoice, EveryExpertHasALane) {
  for (std::int64_t experts = 1; experts <= kMaxExperts; ++experts) {
    EXPECT_GE(experts_per_lane(experts) * 32, experts);
  }
  RouterSpec router;
  router.num_experts = 256;
  EXPECT_EQ(group_scratch(router), 0);
  router.n_group = 8;
  EXPECT_EQ(group_scratch(router), 264);
}

}  // namespace
}  // namespace sluice::cuda
