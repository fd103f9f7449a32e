#include "backends/cpu/schedule.hpp"

#include <gtest/gtest.h>

#include <map>
#include <vector>

namespace sluice {
namespace {

PackedView weights(std::int64_t rows, std::int64_t cols) {
  return {nullptr, PackedFormat::bf16, rows, cols};
}

std::vector<BlockWork> work_with(const std::vector<std::int64_t>& rows) {
  std::vector<BlockWork> list;
  for (std::int64_t r : rows) {
    BlockWork work;
    work.rows = r;
    tile_block(weights(2 * 48, 72), weights(72, 48), 2, 128, work);
    list.push_back(work);
  }
  return list;
}

// What makes waiting safe: everything an item waits for stands before it.
TEST(Schedule, EveryItemComesAfterWhatItNeeds) {
  for (const auto& rows :
       std::vector<std::vector<std::int64_t>>{{}, {5}, {3, 1}, {1, 300, 17}, {129, 1, 1, 40}}) {
    const auto work = work_with(rows);
    const bool rounds = rows.size() % 2 == 1;
    std::vector<Segment> memory(
        static_cast<std::size_t>(max_segments(static_cast<std::int64_t>(rows.size()))));
    const Schedule schedule = build_schedule(work, 9, {.rounds = rounds}, memory);
    std::map<std::pair<Stage, std::int64_t>, Segment> found;
    std::int64_t items = 0;
    std::int64_t down = 0;
    for (const Segment& segment : schedule.segments) {
      EXPECT_EQ(segment.first, items);
      EXPECT_GT(segment.items(), 0);
      EXPECT_TRUE(found.emplace(std::pair{segment.stage, segment.work}, segment).second);
      items += segment.items();
      if (segment.stage == Stage::down) down += segment.items();
    }
    EXPECT_EQ(schedule.items, items);
    EXPECT_EQ(schedule.down_items, down);
    EXPECT_EQ(schedule.segments.back().stage, Stage::combine);
    EXPECT_EQ(found.size(), 3 * rows.size() + 1 + rounds);
    EXPECT_EQ(schedule.round_items, rounds ? ceil_div(9, kRoundTokens) : 0);
    EXPECT_EQ(schedule.segments.front().stage == Stage::round, rounds);
    for (std::size_t w = 0; w < rows.size(); ++w) {
      const auto at = [&](Stage stage) { return found.at({stage, static_cast<std::int64_t>(w)}); };
      EXPECT_LT(at(Stage::gather).first, at(Stage::gate_up).first);
      EXPECT_LT(at(Stage::gate_up).first, at(Stage::down).first);
      EXPECT_EQ(at(Stage::gate_up).items(), work[w].gate_up_items);
      EXPECT_EQ(at(Stage::gather).items(), work[w].gather_items);
      EXPECT_LE(ceil_div(rows[w], work[w].gather_items), kGatherRows);
    }
  }
}

TEST(Schedule, WholeTilesAreOneItemEach) {
  const auto work = work_with({1, 300, 129});
  std::vector<Segment> memory(static_cast<std::size_t>(max_segments(3)));
  const Schedule schedule = build_schedule(work, 70, {.rounds = true, .whole = true}, memory);
  std::vector<std::pair<Stage, std::int64_t>> items;
  for (const Segment& segment : schedule.segments)
    items.emplace_back(segment.stage, segment.items());
  const std::vector<std::pair<Stage, std::int64_t>> expected{
      {Stage::round, 3},
      {Stage::whole, 1},
      {Stage::whole, 3},
      {Stage::whole, 2},
      {Stage::combine, ceil_div(70, kCombineTokens)}};
  EXPECT_EQ(items, expected);
  EXPECT_EQ(schedule.round_items, 3);
  EXPECT_EQ(schedule.down_items, 6);  // what combine waits for
}

TEST(Schedule, TilesHoldWholePairsOfPanelsAndBoundedRows) {
  for (std::int64_t rows : {1, 16, 17, 128, 129, 1000}) {
    for (std::int64_t cols : {8, 2048, 32768}) {
      const std::int64_t most = tile_rows(2 * cols);
      EXPECT_LE(most, kMostTileRows);
      BlockWork work;
      work.rows = rows;
      tile_block(weights(22 * 16, cols), weights(cols, 11 * 16), 2, most, work);
      const Tiling tiling = work.gate_up;
      EXPECT_EQ(tiling.row_tiles, work.down.row_tiles);  // GEMM 1 lays out what GEMM 2 reads
      EXPECT_EQ(tiling.tile_panels % 2, 0);
      EXPECT_GE(tiling.tile_panels, 2);
      EXPECT_LE(tiling.tile_panels, kTilePanels);
      EXPECT_LE(ceil_div(rows, tiling.row_tiles), most);
      EXPECT_GE(tiling.panel_tiles * tiling.tile_panels, 22);
      EXPECT_LT((tiling.panel_tiles - 1) * tiling.tile_panels, 22);
    }
  }
}

}  // namespace
}  // namespace sluice
