#include "backends/cpu/schedule.hpp"

#include <algorithm>

namespace sluice {
namespace {

// A tile of few rows streams its weights once: large enough that taking it costs nothing (0.1 us),
// small enough that the last one does not leave other workers idle for long (10 us each).
constexpr std::int64_t kStreamBytes = 128 << 10;
constexpr std::int64_t kFewRows = 16;

class Builder {
 public:
  explicit Builder(std::span<Segment> segments) : segments_(segments) {}

  void add(Stage stage, std::int64_t block, std::int64_t row_tiles, std::int64_t panel_tiles) {
    if (row_tiles * panel_tiles == 0) return;
    segments_[count_++] = {items_, row_tiles, panel_tiles, block, stage};
    items_ += row_tiles * panel_tiles;
    if (stage == Stage::down) down_items_ += row_tiles * panel_tiles;
  }

  void add_product(Stage stage, std::int64_t index, const BlockWork& block) {
    const PackedView& w = stage == Stage::gate_up ? block.gate_up : block.down;
    const Tiling tiling = tile_product(block.rows, w.panel_stride(),
                                       stage == Stage::gate_up ? block.gate_up_unit : 1);
    add(stage, index, tiling.row_tiles, ceil_div(w.panels(), tiling.tile_panels));
  }

  Schedule finish() const { return {segments_.first(count_), items_, down_items_}; }

 private:
  std::span<Segment> segments_;
  std::size_t count_ = 0;
  std::int64_t items_ = 0;
  std::int64_t down_items_ = 0;
};

}  // namespace

Tiling tile_product(std::int64_t rows, std::int64_t panel_bytes, std::int64_t unit) {
  std::int64_t panels = kTilePanels;
  if (rows <= kFewRows) {
    const std::int64_t by_bytes = kStreamBytes / panel_bytes / unit * unit;
    panels = std::clamp(by_bytes, unit, kTilePanels);
  }
  return {ceil_div(rows, kTileRows), panels};
}

std::int64_t max_segments(std::int64_t blocks) { return 3 * blocks + 1; }

Schedule build_schedule(std::span<const BlockWork> blocks, std::int64_t tokens,
                        std::span<Segment> segments) {
  Builder builder(segments);
  const auto count = static_cast<std::int64_t>(blocks.size());
  const auto next_with_rows = [&](std::int64_t from) {
    while (from < count && blocks[static_cast<std::size_t>(from)].rows == 0) ++from;
    return from;
  };
  const auto gather = [&](std::int64_t b) {
    if (b < count) {
      builder.add(Stage::gather, b, ceil_div(blocks[static_cast<std::size_t>(b)].rows, kGatherRows),
                  1);
    }
  };
  std::int64_t previous = count;
  std::int64_t current = next_with_rows(0);
  gather(current);
  while (current < count || previous < count) {
    std::int64_t next = count;
    if (current < count) {
      next = next_with_rows(current + 1);
      gather(next);
      builder.add_product(Stage::gate_up, current, blocks[static_cast<std::size_t>(current)]);
    }
    if (previous < count) {
      builder.add_product(Stage::down, previous, blocks[static_cast<std::size_t>(previous)]);
    }
    previous = current;
    current = next;
  }
  builder.add(Stage::combine, 0, ceil_div(tokens, kCombineTokens), 1);
  return builder.finish();
}

}  // namespace sluice
