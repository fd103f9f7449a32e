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
  EXPECT_EQ(tile(4096), FfnTile::rows256_tokens192);
}

TEST(CudaTileChoice, TilesAreAsHighAsThereAreSegmentsToSpread) {
  const auto tile = [](std::int64_t tokens, std::int64_t top_k, std::int64_t experts) {
    return choose_ffn({tokens, top_k, experts, true});
  };
  EXPECT_EQ(tile(2048, 8, 128), FfnTile::rows128_tokens256);  // 128 tokens each, one segment
  EXPECT_EQ(tile(4096, 8, 256), FfnTile::rows256_tokens192);  // the same, twice the experts
  EXPECT_EQ(tile(4096, 8, 128), FfnTile::rows256_tokens192);  // two segments each
  EXPECT_EQ(tile(1024, 2, 8), FfnTile::rows128_tokens160);
  EXPECT_EQ(tile(4096, 2, 8), FfnTile::rows128_tokens256);
  EXPECT_EQ(tile(16384, 2, 8), FfnTile::rows256_tokens192);
}

TEST(CudaTileChoice, NoSegmentIsLongerThanATile) {
  EXPECT_EQ(max_groups(FfnTile::rows64_tokens32), 32 / 8);
  EXPECT_EQ(max_groups(FfnTile::rows128_tokens64), 64 / 8);
  EXPECT_EQ(max_groups(FfnTile::rows128_tokens160), 160 / 8);
  EXPECT_EQ(max_groups(FfnTile::rows128_tokens256), 256 / 8);
  EXPECT_EQ(max_groups(FfnTile::rows256_tokens192), 192 / 8);
}

TEST(CudaTileChoice, GeneralActivationsHaveNoWideTiles) {
  for (std::int64_t tokens = 1; tokens <= 65536; tokens *= 2) {
    EXPECT_LE(max_groups(choose_ffn({tokens, 8, 128, false})), 8) << tokens;
  }
}

TEST(CudaTileChoice, FewExpertsFillWideTilesEarly) {
  EXPECT_EQ(choose_ffn({256, 2, 8, true}), FfnTile::rows128_tokens160);
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
