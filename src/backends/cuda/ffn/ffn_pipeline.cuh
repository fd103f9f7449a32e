// The ring of stages between those who copy and those who multiply, and the queue of tiles that
// tells all of them what the stages hold. Neither drains between tiles, experts or GEMMs.
#pragma once

#include "backends/cuda/device/ptx.cuh"
#include "backends/cuda/ffn/ffn_schedule.cuh"

namespace sluice::cuda {

// Tiles of kRowTiles x 64 rows of weights times at most kMaxTokens tokens, one column block per
// stage. The warpgroups share a tile's rows, or, taking turns, each has every other tile whole: one
// multiplies while the other stores.
template <int kWarpGroupsOf, bool kTakeTurnsOf, int kRowTilesOf, int kMaxTokensOf, int kStagesOf>
struct FfnShape {
  static constexpr int kWarpGroups = kWarpGroupsOf;
  static constexpr bool kTakeTurns = kTakeTurnsOf;
  static constexpr int kRowTiles = kRowTilesOf;
  static constexpr int kOwnRowTiles = kTakeTurns ? kRowTiles : kRowTiles / kWarpGroups;
  static constexpr int kOwners = kTakeTurns ? 1 : kWarpGroups;  // warpgroups of one tile
  static constexpr int kMaxTokens = kMaxTokensOf;
  static constexpr int kStages = kStagesOf;
  static constexpr int kThreads = 128 * (1 + kWarpGroups);
  // Where sums take many registers, those who multiply get some of those who copy.
  static constexpr bool kMovesRegisters = kWarpGroups > 1 && kOwnRowTiles* kMaxTokens >= 128;
  static constexpr int kWeightBytes = kRowTiles * static_cast<int>(kTileBytes);
  static constexpr int kTokenBytes = kMaxTokens / 8 * static_cast<int>(kGroupBytes);
  static constexpr int kStageBytes = kWeightBytes + kTokenBytes;
};

inline constexpr int kQueue = 4;

template <typename Shape>
struct FfnShared {
  alignas(1024) std::uint8_t stages[Shape::kStages][Shape::kStageBytes];
  Barrier full[Shape::kStages];   // weights and tokens are there
  Barrier empty[Shape::kStages];  // every warp that multiplies is through
  Barrier told[kQueue];           // the tile is written
  Barrier heard[kQueue];          // everybody is through with what is written
  Barrier stored[kQueue];         // the tile's results are
  Barrier passed[2];              // a warpgroup's turn at the ring is over
  Tile tiles[kQueue];

  __device__ void init() {
    for (int i = 0; i < Shape::kStages; ++i) {
      barrier_init(full[i], 2);
      barrier_init(empty[i], 4 * Shape::kOwners);
    }
    for (int i = 0; i < kQueue; ++i) {
      barrier_init(told[i], 1);
      barrier_init(heard[i], 3 + 128 * Shape::kWarpGroups);
      barrier_init(stored[i], 128 * Shape::kOwners);
    }
    for (Barrier& barrier : passed) barrier_init(barrier, 128);
    barrier_init_fence();
  }
  __device__ std::uint8_t* weights(int stage) { return stages[stage]; }
  __device__ std::uint8_t* tokens(int stage) { return stages[stage] + Shape::kWeightBytes; }
};

// A place in a ring of kCount, and how often it was passed, modulo two.
template <int kCount>
struct Cursor {
  int place = 0;
  std::uint32_t round = 0;

  __device__ void advance() {
    if (++place == kCount) {
      place = 0;
      round ^= 1;
    }
  }
  __device__ void advance(int steps) {
    place += steps;
    round ^= place / kCount & 1;
    place %= kCount;
  }
};

// Reads the queue's next tile. Every thread that is counted in `heard` calls it.
template <typename Shape>
__device__ Tile next_tile(FfnShared<Shape>& shared, Cursor<kQueue>& cursor) {
  barrier_wait(shared.told[cursor.place], cursor.round);
  const Tile tile = shared.tiles[cursor.place];
  barrier_arrive(shared.heard[cursor.place]);
  cursor.advance();
  return tile;
}

// Claims tiles, a few ahead: a claim takes as long as a small tile, so that the next one is under
// way while this one's segment is looked up. `claimed`: the first. One thread.
template <typename Shape, typename Segments>
__device__ void claim_tiles(const Schedule<Shape::kRowTiles, Segments>& schedule, int claimed,
                            FfnShared<Shape>& shared) {
  Cursor<kQueue> queue;
  for (;;) {
    const int next = schedule.claim();
    const Tile tile = schedule.tile(claimed);
    claimed = next;
    barrier_wait(shared.heard[queue.place], queue.round ^ 1);
    shared.tiles[queue.place] = tile;
    barrier_arrive(shared.told[queue.place]);
    if (tile.stage == Stage::done) return;
    queue.advance();
  }
}

// Copies the weights of the tiles. One thread.
template <typename Shape, typename Segments>
__device__ void produce_weights(const Ffn& ffn,
                                const Schedule<Shape::kRowTiles, Segments>& schedule,
                                FfnShared<Shape>& shared) {
  Cursor<kQueue> queue;
  Cursor<Shape::kStages> ring;
  for (;;) {
    const Tile tile = next_tile(shared, queue);
    if (tile.stage == Stage::done) return;
    const FfnBlocks& blocks = schedule.blocks(tile.segment);
    const bool first = tile.stage == Stage::gemm1;
    const std::int64_t columns = tile.blocks;
    const std::int64_t tiles = first ? blocks.tiles1 : ffn.tiles2;
    const std::int64_t expert = max(tile.segment.expert, 0);
    const std::uint8_t* from = (first ? blocks.weights1 : blocks.weights2) +
                               (expert * tiles + tile.row_tile) * columns * kTileBytes;
    // A weight that is read once must not push h and y out of the second-level cache; one that the
    // expert's next segment reads must stay.
    const std::uint64_t policy = tile.segment.parts == 1 ? evict_first() : evict_normal();
    for (int block = 0; block < tile.blocks; ++block) {
      barrier_wait(shared.empty[ring.place], ring.round ^ 1);
      barrier_arrive_expecting(shared.full[ring.place], tile.row_tiles * kTileBytes);
#pragma unroll
      for (int g = 0; g < Shape::kRowTiles; ++g) {
        if (g >= tile.row_tiles) break;
        bulk_load(shared.weights(ring.place) + g * kTileBytes,
                  from + (g * columns + block) * kTileBytes, kTileBytes, shared.full[ring.place],
                  policy);
      }
      ring.advance();
    }
  }
}

// Copies the tokens of the tiles: x, or h once it is complete. One thread.
template <typename Shape, typename Segments>
__device__ void produce_tokens(const Ffn& ffn, const Schedule<Shape::kRowTiles, Segments>& schedule,
                               FfnShared<Shape>& shared) {
  Cursor<kQueue> queue;
  Cursor<Shape::kStages> ring;
  for (;;) {
    const Tile tile = next_tile(shared, queue);
    if (tile.stage == Stage::done) return;
    const FfnBlocks& blocks = schedule.blocks(tile.segment);
    const std::uint8_t* from = ffn.x + tile.segment.x_group * kGroupBytes;
    std::int64_t groups = ffn.x_groups;
    if (tile.stage == Stage::gemm2) {
      const int complete = schedule.tiles_of_h(tile.index);
      while (load_acquire(ffn.plan.ready + tile.index) < complete) __nanosleep(32);
      proxy_fence();
      from = blocks.h + (tile.segment.group - blocks.h_group0) * kGroupBytes;
      groups = blocks.h_groups;
    }
    const auto bytes = static_cast<std::uint32_t>(tile.segment.groups() * kGroupBytes);
    for (int block = 0; block < tile.blocks; ++block) {
      barrier_wait(shared.empty[ring.place], ring.round ^ 1);
      barrier_arrive_expecting(shared.full[ring.place], bytes);
      bulk_load(shared.tokens(ring.place), from + block * groups * kGroupBytes, bytes,
                shared.full[ring.place]);
      ring.advance();
    }
  }
}

}  // namespace sluice::cuda
