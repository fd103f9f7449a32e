// What the FFN kernel's CTAs work through: every tile of GEMM 1, then every tile of GEMM 2, claimed
// in this order from one counter. A tile of GEMM 2 waits for tiles of GEMM 1 only, and those were
// claimed before it by CTAs that run: nothing can wait for a CTA that has no place yet.
#pragma once

#include "backends/cuda/params.hpp"

namespace sluice::cuda {

enum class Stage : std::int32_t { gemm1, gemm2, done };

struct Tile {
  Stage stage;
  Segment segment;
  std::int32_t index;      // of the segment, shared ones first: its place in Plan::ready
  std::int32_t row_tile;   // first of the weights' tiles of 64 rows
  std::int32_t row_tiles;  // fewer than the shape has where the rows end
  std::int32_t blocks;     // of columns
};

// The segments of the routed experts, as a plan in memory has them.
struct PlannedSegments {
  static constexpr bool kSlotRows = false;  // a segment's outputs stand side by side
  const Plan& plan;

  __device__ int count() const { return *plan.segment_count; }
  __device__ Segment at(int index) const { return plan.segments[index]; }
};

__device__ inline int claim_tile(const Ffn& ffn) { return atomicAdd(ffn.plan.next_tile, 1); }

template <int kRowTiles, typename Segments>
class Schedule {
 public:
  __device__ Schedule(const Ffn& ffn, const Segments& segments)
      : ffn_(ffn),
        routed_(segments),
        shared1_(tiles_of(ffn.shared.tiles1)),
        routed1_(tiles_of(ffn.routed.tiles1)),
        tiles2_(tiles_of(ffn.tiles2)),
        end1_(ffn.shared_segments * shared1_ + segments.count() * routed1_),
        end_(end1_ + (ffn.shared_segments + segments.count()) * tiles2_) {}

  __device__ int claim() const { return claim_tile(ffn_); }

  __device__ const Segments& routed() const { return routed_; }

  // Tiles of GEMM 1 that a segment's h consists of.
  __device__ int tiles_of_h(int segment) const {
    return segment < ffn_.shared_segments ? shared1_ : routed1_;
  }

  __device__ const FfnBlocks& blocks(const Segment& segment) const {
    return segment.expert < 0 ? ffn_.shared : ffn_.routed;
  }

  // The tile of a claim; Stage::done beyond the last.
  __device__ Tile tile(int t) const {
    Tile tile{};
    if (t >= end_) {
      tile.stage = Stage::done;
      return tile;
    }
    if (t < end1_) {
      tile.stage = Stage::gemm1;
      const int shared_tiles = ffn_.shared_segments * shared1_;
      if (t < shared_tiles) {
        place_shared(tile, t, shared1_);
      } else {
        place_routed(tile, t - shared_tiles, routed1_);
      }
    } else {
      tile.stage = Stage::gemm2;
      const int shared_tiles = ffn_.shared_segments * tiles2_;
      if (t - end1_ < shared_tiles) {
        place_shared(tile, t - end1_, tiles2_);
      } else {
        place_routed(tile, t - end1_ - shared_tiles, tiles2_);
      }
    }
    tile.row_tile *= kRowTiles;
    const FfnBlocks& of = blocks(tile.segment);
    const bool first = tile.stage == Stage::gemm1;
    tile.row_tiles = min(kRowTiles, (first ? of.tiles1 : ffn_.tiles2) - tile.row_tile);
    tile.blocks = first ? of.columns1 : of.columns2;
    return tile;
  }

 private:
  __device__ static int tiles_of(int row_tiles) { return (row_tiles + kRowTiles - 1) / kRowTiles; }

  // A run of segments has the same weights: they take each row tile one after the other, so that it
  // comes from memory once, however large the expert.
  __device__ static void place(Tile& tile, int t, int run, int parts, int tiles) {
    const int inside = t - run * tiles;
    tile.row_tile = inside / parts;
    tile.index = run + inside % parts;
  }

  __device__ void place_shared(Tile& tile, int t, int tiles) const {
    place(tile, t, 0, ffn_.shared_segments, tiles);
    tile.segment = shared_segment(tile.index);
  }

  __device__ void place_routed(Tile& tile, int t, int tiles) const {
    const int own = t / tiles;
    const Segment any = routed_.at(own);
    place(tile, t, any.run, any.parts, tiles);
    tile.segment = tile.index == own ? any : routed_.at(tile.index);
    tile.index += ffn_.shared_segments;
  }

  __device__ Segment shared_segment(int index) const {
    const int first = index * ffn_.plan.segment_groups;
    const int rows = ffn_.plan.tokens - first * static_cast<int>(kGroupRows);
    return {-1,
            ffn_.shared_x_group + first,
            ffn_.shared.h_group0 + first,
            min(rows, ffn_.plan.segment_groups * static_cast<int>(kGroupRows)),
            0,
            ffn_.shared_segments};
  }

  const Ffn& ffn_;
  Segments routed_;
  int shared1_, routed1_, tiles2_, end1_, end_;
};

}  // namespace sluice::cuda
