// The swizzled layouts: every element has a place of its own, and the places that wgmma relies on.
#include "backends/cuda/layout.hpp"

#include <gtest/gtest.h>

#include <set>

namespace sluice::cuda {
namespace {

TEST(CudaLayout, WeightTilesArePermutations) {
  constexpr std::int64_t kRows = 192;
  constexpr std::int64_t kBlocks = 3;
  std::set<std::int64_t> places;
  for (std::int64_t row = 0; row < kRows; ++row) {
    for (std::int64_t column = 0; column < kBlocks * kBlockColumns; ++column) {
      places.insert(weight_offset(row, column, kBlocks));
    }
  }
  EXPECT_EQ(places.size(), static_cast<std::size_t>(kRows * kBlocks * kBlockColumns));
  EXPECT_EQ(*places.rbegin(), kRows * kBlocks * kBlockColumns * 2 - 2);
}

TEST(CudaLayout, ARowTileIsAContiguousStream) {
  EXPECT_EQ(weight_offset(64, 0, 5), 5 * kTileBytes);
  EXPECT_EQ(weight_offset(63, 64, 5) / kTileBytes, 1);
  EXPECT_EQ(weight_offset(8, 0, 5), kGroupBytes);
}

TEST(CudaLayout, EqualChunksOfAGroupLieInDifferentBanks) {
  for (std::int64_t chunk = 0; chunk < 8; ++chunk) {
    std::set<std::int64_t> columns;
    for (std::int64_t row = 0; row < 8; ++row) columns.insert(chunk_offset(row, chunk) % 128);
    EXPECT_EQ(columns.size(), 8u) << "chunk " << chunk;
  }
}

TEST(CudaLayout, TokensOfASegmentAreContiguousInABlock) {
  constexpr std::int64_t kGroups = 7;
  EXPECT_EQ(token_offset(16, 0, kGroups) - token_offset(8, 0, kGroups), kGroupBytes);
  EXPECT_EQ(token_offset(0, 64, kGroups), kGroups * kGroupBytes);
}

TEST(CudaLayout, GateAndUpOfAUnitStandEightRowsApart) {
  std::set<std::int64_t> rows;
  for (std::int64_t unit = 0; unit < 96; ++unit) {
    EXPECT_EQ(gate_row(unit) % 16, unit % 8);
    rows.insert(gate_row(unit));
    rows.insert(gate_row(unit) + 8);
  }
  EXPECT_EQ(rows.size(), 192u);
  EXPECT_EQ(*rows.rbegin(), 191);
}

TEST(CudaLayout, OutputRowsHoldEveryColumnOnceAndAccumulatorsInPairs) {
  for (const int pairs : {2, 4}) {  // in 16 bytes of floats, and of bf16
    for (const std::int64_t hidden : {8, 16, 72, 2304}) {
      const int chunks = static_cast<int>(output_columns(hidden) / 2 / pairs);
      std::set<int> columns;
      for (int chunk = 0; chunk < chunks; ++chunk) {
        for (int pair = 0; pair < pairs; ++pair) {
          const int low = pair_column(chunk, pairs) + pair;
          // Where the epilogue stores it: pair r of the eight of these 16 columns.
          EXPECT_EQ(low / 16 * 8 + low % 16, chunk * pairs + pair);
          columns.insert({low, low + 8});  // rows r and r + 8 of 16
        }
      }
      EXPECT_EQ(static_cast<std::int64_t>(columns.size()), output_columns(hidden));
      EXPECT_EQ(*columns.rbegin() + 1, output_columns(hidden));
      EXPECT_LT(output_columns(hidden) - hidden, 16);
    }
  }
}

TEST(CudaLayout, SizesArePaddedToWholeTiles) {
  const BlockShape gated{72, 40, true};
  EXPECT_EQ(gated.units(), 64);
  EXPECT_EQ(gated.rows1(), 128);
  EXPECT_EQ(gated.columns1(), 2);
  EXPECT_EQ(gated.rows2(), 128);
  EXPECT_EQ(gated.columns2(), 1);
  const BlockShape ungated{72, 136, false};
  EXPECT_EQ(ungated.rows1(), 256);
  EXPECT_EQ(ungated.columns2(), 4);
  // Beyond 2^31 elements: DeepSeek-V3's experts, all 256 of them.
  const BlockShape large{7168, 2048, true};
  EXPECT_EQ(large.bytes1() * 256, std::int64_t{15'032'385'536});
}

}  // namespace
}  // namespace sluice::cuda
