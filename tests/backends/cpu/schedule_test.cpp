#include "backends/cpu/schedule.hpp"

#include <gtest/gtest.h>

#include <map>
#include <vector>

namespace sluice {
namespace {

std::vector<BlockWork> blocks_with(const std::vector<std::int64_t>& rows) {
  std::vector<BlockWork> blocks;
  for (std::int64_t r : rows) {
    blocks.push_back(
        {r, {nullptr, PackedFormat::bf16, 2 * 48, 72}, {nullptr, PackedFormat::bf16, 72, 48}, 2});
  }
  return blocks;
}

// What makes waiting safe: everything an item waits for stands before it.
TEST(Schedule, EveryItemComesAfterWhatItNeeds) {
  for (const auto& rows : std::vector<std::vector<std::int64_t>>{
           {}, {0}, {5}, {0, 0, 3}, {1, 0, 300, 17, 0}, {129, 1}}) {
    const auto blocks = blocks_with(rows);
    std::vector<Segment> memory(
        static_cast<std::size_t>(max_segments(static_cast<std::int64_t>(rows.size()))));
    const Schedule schedule = build_schedule(blocks, 9, memory);
    std::map<std::pair<Stage, std::int64_t>, std::int64_t> position;
    std::int64_t items = 0;
    std::int64_t down = 0;
    for (const Segment& segment : schedule.segments) {
      EXPECT_EQ(segment.first, items);
      EXPECT_GT(segment.items(), 0);
      EXPECT_TRUE(position.emplace(std::pair{segment.stage, segment.block}, items).second);
      items += segment.items();
      if (segment.stage == Stage::down) down += segment.items();
    }
    EXPECT_EQ(schedule.items, items);
    EXPECT_EQ(schedule.down_items, down);
    EXPECT_EQ(schedule.segments.back().stage, Stage::combine);
    for (std::size_t b = 0; b < rows.size(); ++b) {
      const auto at = [&](Stage stage) { return position[{stage, static_cast<long>(b)}]; };
      EXPECT_EQ(position.contains({Stage::down, static_cast<long>(b)}), rows[b] > 0);
      if (rows[b] == 0) continue;
      EXPECT_LT(at(Stage::gather), at(Stage::gate_up));
      EXPECT_LT(at(Stage::gate_up), at(Stage::down));
    }
  }
}

TEST(Schedule, TilesHoldWholePairsOfPanelsAndBoundedRows) {
  for (std::int64_t rows : {1, 16, 17, 128, 129, 1000}) {
    for (std::int64_t bytes : {64, 1 << 16, 1 << 20}) {
      const Tiling tiling = tile_product(rows, bytes, 2);
      EXPECT_EQ(tiling.tile_panels % 2, 0);
      EXPECT_GE(tiling.tile_panels, 2);
      EXPECT_LE(tiling.tile_panels, kTilePanels);
      EXPECT_LE(ceil_div(rows, tiling.row_tiles), kTileRows);
    }
  }
}

}  // namespace
}  // namespace sluice
