#include "backends/cuda/tile_choice.hpp"

#include <gtest/gtest.h>

#include "backends/cuda/combine/combine_choice.hpp"
#include "backends/cuda/flow_choice.hpp"
#include "backends/cuda/params.hpp"
#include "backends/cuda/routing/route_choice.hpp"

namespace sluice::cuda {
namespace {

// Kimi-Linear's sizes, or another layer's.
FfnTile tile(std::int64_t tokens, std::int64_t experts = 256, bool plain = true) {
  return choose_ffn({tokens, 8, experts, 2304, 1024, plain});
}

TEST(CudaTileChoice, WidensWithTheTokensOfAnAverageExpert) {
  EXPECT_EQ(tile(1), FfnTile::rows64_tokens32);
  EXPECT_EQ(tile(64), FfnTile::rows64_tokens32);
  EXPECT_EQ(tile(96), FfnTile::rows128_tokens64);
  EXPECT_EQ(tile(1664), FfnTile::rows128_tokens64);
  EXPECT_EQ(tile(2048), FfnTile::rows128_tokens128);
  EXPECT_EQ(tile(3072), FfnTile::rows128_tokens160);
  EXPECT_EQ(tile(4096), FfnTile::rows128_tokens160);
  EXPECT_EQ(tile(5120), FfnTile::rows128_tokens192);
  EXPECT_EQ(tile(64, 512), FfnTile::rows64_tokens32);
}

TEST(CudaTileChoice, ExpertsAreCutIntoAsFewSegmentsAsTheWidestTilesAllow) {
  EXPECT_EQ(tile(3072, 128), FfnTile::rows128_tokens192);   // 192 tokens: one
  EXPECT_EQ(tile(4096, 128), FfnTile::rows128_tokens160);   // 256: two of 128
  EXPECT_EQ(tile(16384, 256), FfnTile::rows128_tokens192);  // 512: three of 170
}

// A tile is stored while the next is multiplied, unless products are so long that it hardly
// matters; then high tiles read less, where there are enough of them to spread.
TEST(CudaTileChoice, LongProductsOfManySegmentsTakeHighTiles) {
  const auto deepseek = [](std::int64_t tokens) {
    return choose_ffn({tokens, 8, 256, 7168, 2048, true});
  };
  EXPECT_EQ(deepseek(2048), FfnTile::rows128_tokens128);
  EXPECT_EQ(deepseek(4096), FfnTile::rows256_tokens192);
  EXPECT_EQ(deepseek(16384), FfnTile::rows256_tokens192);
  const auto mixtral = [](std::int64_t tokens) {
    return choose_ffn({tokens, 2, 8, 4096, 14336, true});
  };
  EXPECT_EQ(mixtral(256), FfnTile::rows128_tokens128);
  EXPECT_EQ(mixtral(4096), FfnTile::rows128_tokens192);  // 48 segments
  EXPECT_EQ(mixtral(8192), FfnTile::rows256_tokens192);  // 88
}

TEST(CudaTileChoice, NoSegmentIsLongerThanATile) {
  EXPECT_EQ(max_groups(FfnTile::rows64_tokens32), 32 / 8);
  EXPECT_EQ(max_groups(FfnTile::rows128_tokens64), 64 / 8);
  EXPECT_EQ(max_groups(FfnTile::rows128_tokens128), 128 / 8);
  EXPECT_EQ(max_groups(FfnTile::rows128_tokens160), 160 / 8);
  EXPECT_EQ(max_groups(FfnTile::rows128_tokens192), 192 / 8);
  EXPECT_EQ(max_groups(FfnTile::rows256_tokens192), 192 / 8);
}

TEST(CudaTileChoice, GeneralActivationsHaveOneWideTile) {
  EXPECT_EQ(tile(1664, 256, false), FfnTile::rows128_tokens64);
  for (std::int64_t tokens = 2048; tokens <= 65536; tokens *= 2) {
    EXPECT_EQ(tile(tokens, 256, false), FfnTile::rows128_tokens192) << tokens;
  }
}

TEST(CudaRouteChoice, BlocksCoverTheTokensAndTheirSizeGrows) {
  std::int64_t before = 0;
  for (std::int64_t tokens = 1; tokens <= 16384; ++tokens) {
    const std::int64_t blocks = ceil_div(tokens, block_tokens(tokens));
    EXPECT_LE(blocks, max_blocks(tokens)) << tokens;
    EXPECT_GE(max_blocks(tokens), before) << tokens;
    EXPECT_LE(block_tokens(tokens), 255) << tokens;  // counts and ranks are bytes
    EXPECT_EQ(block_tokens(tokens) % 4, 0) << tokens;
    before = max_blocks(tokens);
  }
  EXPECT_EQ(block_tokens(1024), 8);
  EXPECT_EQ(block_tokens(1025), 12);
  EXPECT_EQ(block_tokens(16384), 128);
}

TEST(CudaRouteChoice, CountsOfABlockAreAPowerOfTwoOfLoads) {
  for (std::int64_t experts = 1; experts <= kMaxExperts; ++experts) {
    const std::int64_t loads = count_row(experts) / 16;
    EXPECT_GE(loads * 16, experts);
    EXPECT_EQ(loads & (loads - 1), 0) << experts;
  }
  EXPECT_EQ(count_row(16), 16);
  EXPECT_EQ(count_row(17), 32);
  EXPECT_EQ(count_row(160), 256);
}

TEST(CudaRouteChoice, WeightsAreFetchedAheadWhereTheRowsLeaveRoom) {
  EXPECT_EQ(prefetch_bytes(256 * 8, 2048, std::int64_t{1} << 30), 24 << 20);
  EXPECT_EQ(prefetch_bytes(1024 * 8, 2048, std::int64_t{1} << 30), 0);
  EXPECT_EQ(prefetch_bytes(256 * 8, 2048, 5 * kTileBytes), 5 * kTileBytes);
}

TEST(CudaCombineChoice, WarpsCoverARowAndNoneIsIdle) {
  for (std::int64_t chunks = 2; chunks <= 2048; ++chunks) {
    const std::int64_t steps = ceil_div(chunks, kCombineChunks);
    EXPECT_EQ(combine_parts(1, chunks), steps);
    std::int64_t before = steps;
    for (const std::int64_t tokens : {9, 100, 1000, 5000, 16384}) {
      const std::int64_t parts = combine_parts(tokens, chunks);
      EXPECT_GE(parts, 1);
      EXPECT_LE(parts, before) << tokens;
      before = parts;
    }
  }
  EXPECT_EQ(combine_parts(1024, 2048 / 4), 6);  // fp32
  EXPECT_EQ(combine_parts(1024, 2048 / 8), 8);  // rounded: half the chunks, so fewer warps in all
  EXPECT_EQ(combine_parts(16384, 2048 / 4), 1);
}

TEST(CudaRouteChoice, EveryExpertHasALane) {
  for (std::int64_t experts = 1; experts <= kMaxExperts; ++experts) {
    EXPECT_GE(experts_per_lane(experts) * 32, experts);
  }
  const auto built = [](std::int64_t experts) {
    int lanes = 0;
    with_experts_per_lane<512>(experts, [&]<int kPerLane>() { lanes = kPerLane; });
    return lanes;
  };
  for (const std::int64_t experts : {1, 128, 129, 256, 257, 512}) {
    EXPECT_EQ(built(experts), experts_per_lane(experts)) << experts;
  }
  RouterSpec router;
  router.num_experts = 256;
  EXPECT_EQ(group_scratch(router), kChoiceFloats);
  router.n_group = 8;
  EXPECT_EQ(group_scratch(router), kChoiceFloats + 264);  // scores of experts and of groups
}

TEST(CudaFlowChoice, FewTokensOfSmallExpertsAreNotPlanned) {
  const FlowSizes small{1, 256, 14'000'000, false};
  const auto flow = [](FlowSizes sizes, std::int64_t tokens) {
    sizes.tokens = tokens;
    return choose_flow(sizes);
  };
  EXPECT_EQ(flow(small, 1), Flow::dense);
  EXPECT_EQ(flow(small, 16), Flow::dense);
  EXPECT_EQ(flow(small, 17), Flow::sorted);
  EXPECT_EQ(flow(small, 64), Flow::sorted);
  EXPECT_EQ(flow(small, 65), Flow::planned);  // more than bits of two words
  FlowSizes weighted = small;
  weighted.weight_on_input = true;
  EXPECT_EQ(flow(weighted, 16), Flow::sorted);  // rows differ from expert to expert
  FlowSizes large = small;
  large.expert_bytes = 352'000'000;
  EXPECT_EQ(flow(large, 16), Flow::dense);
  EXPECT_EQ(flow(large, 17), Flow::planned);
  large.weight_on_input = true;
  EXPECT_EQ(flow(large, 16), Flow::planned);
  FlowSizes many = small;
  many.num_experts = 512;
  EXPECT_EQ(flow(many, 1), Flow::dense);
  many.num_experts = 513;
  EXPECT_EQ(flow(many, 1), Flow::planned);
}

}  // namespace
}  // namespace sluice::cuda
