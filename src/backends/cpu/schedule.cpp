#include "backends/cpu/schedule.hpp"

#include <algorithm>

namespace sluice {
namespace {

// A tile of few rows streams its weights once: large enough that taking it costs nothing (0.1 us),
// small enough that the last one does not leave other workers idle for long (20 us each).
constexpr std::int64_t kStreamBytes = 256 << 10;
constexpr std::int64_t kFewRows = 16;

class Builder {
 public:
  explicit Builder(std::span<Segment> segments) : segments_(segments) {}

  void add(Stage stage, std::int64_t work, std::int64_t row_tiles, std::int64_t panel_tiles) {
    segments_[count_++] = {items_, row_tiles, panel_tiles, work, stage};
    items_ += row_tiles * panel_tiles;
    if (stage == Stage::down || stage == Stage::whole) down_items_ += row_tiles * panel_tiles;
    if (stage == Stage::round) round_items_ += row_tiles * panel_tiles;
  }

  Schedule finish() const { return {segments_.first(count_), items_, round_items_, down_items_}; }

 private:
  std::span<Segment> segments_;
  std::size_t count_ = 0;
  std::int64_t items_ = 0;
  std::int64_t round_items_ = 0;
  std::int64_t down_items_ = 0;
};

}  // namespace

std::int64_t tile_rows(std::int64_t row_bytes) {
  constexpr std::int64_t kHalfOfL2 = std::int64_t{1} << 20;
  constexpr std::int64_t kWhole = 32;
  return std::clamp(kHalfOfL2 / row_bytes / kWhole * kWhole, 4 * kWhole, kMostTileRows);
}

Tiling tile_product(std::int64_t rows, std::int64_t row_tiles, const PackedView& weights,
                    std::int64_t unit) {
  std::int64_t panels = kTilePanels;
  if (rows <= kFewRows) {
    const std::int64_t by_bytes = kStreamBytes / weights.panel_stride() / unit * unit;
    panels = std::clamp(by_bytes, unit, kTilePanels);
  }
  return {row_tiles, panels, ceil_div(weights.panels(), panels)};
}

void tile_block(const PackedView& gate_up, const PackedView& down, std::int64_t gate_up_unit,
                std::int64_t most_rows, BlockWork& work) {
  const std::int64_t row_tiles = ceil_div(work.rows, most_rows);
  work.gate_up = tile_product(work.rows, row_tiles, gate_up, gate_up_unit);
  work.down = tile_product(work.rows, row_tiles, down, 1);
  work.gather_parts = ceil_div(ceil_div(work.rows, work.gate_up.row_tiles), kGatherRows);
  work.gather_items = work.gate_up.row_tiles * work.gather_parts;
  work.gate_up_items = work.gate_up.row_tiles * work.gate_up.panel_tiles;
  work.down_items = work.down.row_tiles * work.down.panel_tiles;
}

std::int64_t max_segments(std::int64_t blocks) { return 3 * blocks + 2; }

Schedule build_schedule(std::span<const BlockWork> work, std::int64_t tokens, const Stages& stages,
                        std::span<Segment> segments) {
  Builder builder(segments);
  const auto count = static_cast<std::int64_t>(work.size());
  const auto at = [&](std::int64_t index) { return work[static_cast<std::size_t>(index)]; };
  const auto gather = [&](std::int64_t w) {
    builder.add(Stage::gather, w, at(w).gate_up.row_tiles, at(w).gather_parts);
  };
  const auto product = [&](Stage stage, std::int64_t w, const Tiling& tiling) {
    builder.add(stage, w, tiling.row_tiles, tiling.panel_tiles);
  };
  if (stages.rounds) builder.add(Stage::round, 0, ceil_div(tokens, kRoundTokens), 1);
  for (std::int64_t w = 0; stages.whole && w < count; ++w) {
    builder.add(Stage::whole, w, at(w).gate_up.row_tiles, 1);
  }
  if (count > 0 && !stages.whole) gather(0);
  for (std::int64_t w = 0; !stages.whole && w <= count; ++w) {
    if (w + 1 < count) gather(w + 1);
    if (w < count) product(Stage::gate_up, w, at(w).gate_up);
    if (w > 0) product(Stage::down, w - 1, at(w - 1).down);
  }
  builder.add(Stage::combine, 0, ceil_div(tokens, kCombineTokens), 1);
  return builder.finish();
}

}  // namespace sluice
