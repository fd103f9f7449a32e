// The feed-forward kernel: both GEMMs of every expert, persistent, one CTA per multiprocessor.
// The first warpgroup's warps copy weights, copy tokens, claim tiles and finish them; the others
// multiply.
#pragma once

#include "backends/cuda/device/device.hpp"
#include "backends/cuda/device/launch.cuh"
#include "backends/cuda/device/wgmma.cuh"
#include "backends/cuda/ffn/ffn_epilogue.cuh"
#include "backends/cuda/ffn/ffn_pipeline.cuh"

namespace sluice::cuda {

// A warpgroup whose rows lie beyond the last lets a tile's stages go by.
template <typename Shape>
__device__ void pass(const Tile& tile, FfnShared<Shape>& shared, Cursor<Shape::kStages>& ring) {
  for (int block = 0; block < tile.blocks; ++block) {
    barrier_wait(shared.full[ring.place], ring.round);
    if (threadIdx.x % 32 == 0) barrier_arrive(shared.empty[ring.place]);
    ring.advance();
  }
}

// One warpgroup's part of a tile: its row tiles x kTokens. `first`: the first of its row tiles.
template <typename Shape, typename Act, int kTokens, typename Segments>
__device__ void consume(const Ffn& ffn, const Segments& segments, const Tile& tile,
                        const FfnBlocks& blocks, int first, FfnShared<Shape>& shared,
                        Cursor<Shape::kStages>& ring) {
  constexpr int kOwn = Shape::kOwnRowTiles;
  const bool speaks = threadIdx.x % 32 == 0;
  // Cleared, not left to the first product: undefined registers would stay reserved, for every
  // width that is built, throughout the loop over tiles.
  float sums[kOwn][kTokens / 2] = {};
  int before = -1;  // the stage whose products are still under way
  for (int block = 0; block < tile.blocks; ++block) {
    barrier_wait(shared.full[ring.place], ring.round);
    const std::uint64_t a = matrix_descriptor(shared_address(shared.weights(ring.place)) +
                                              first * static_cast<int>(kTileBytes));
    const std::uint64_t b = matrix_descriptor(shared_address(shared.tokens(ring.place)));
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < 4; ++k) {
#pragma unroll
      for (int r = 0; r < kOwn; ++r) wgmma(sums[r], a + r * (kTileBytes >> 4) + k * 2, b + k * 2);
    }
    wgmma_commit();
    if (before >= 0) {
      wgmma_wait<1>();
      if (speaks) barrier_arrive(shared.empty[before]);
    }
    before = ring.place;
    ring.advance();
  }
  if constexpr (Shape::kTakeTurns) barrier_arrive(shared.passed[threadIdx.x / 128 - 1]);
  wgmma_wait<0>();
  if (speaks) barrier_arrive(shared.empty[before]);
#pragma unroll
  for (int r = 0; r < kOwn; ++r) {
    const int rows16 = (tile.row_tile + first + r) * 4 + static_cast<int>(threadIdx.x / 32 % 4);
    if (tile.stage == Stage::gemm1) {
      finish_gemm1<Act, kTokens>(tile, blocks, rows16, sums[r]);
    } else {
      finish_gemm2<kTokens>(ffn, segments, tile, blocks, rows16, sums[r]);
    }
  }
}

// The narrowest product of the list that holds the segment's tokens.
template <typename Shape, typename Act, int kTokens, int... kWider, typename Segments>
__device__ void consume_narrowest(const Ffn& ffn, const Segments& segments, const Tile& tile,
                                  const FfnBlocks& blocks, int first, FfnShared<Shape>& shared,
                                  Cursor<Shape::kStages>& ring) {
  if constexpr (sizeof...(kWider) > 0) {
    if (tile.segment.rows > kTokens) {
      return consume_narrowest<Shape, Act, kWider...>(ffn, segments, tile, blocks, first, shared,
                                                      ring);
    }
  }
  consume<Shape, Act, kTokens>(ffn, segments, tile, blocks, first, shared, ring);
}

// Tells other CTAs which tiles of h are stored. One thread, so that those who multiply do not wait
// for memory.
template <typename Shape>
__device__ void finish_tiles(const Ffn& ffn, FfnShared<Shape>& shared) {
  for (Cursor<kQueue> queue;; queue.advance()) {
    barrier_wait(shared.told[queue.place], queue.round);
    const Tile tile = shared.tiles[queue.place];
    if (tile.stage == Stage::done) return;
    barrier_wait(shared.stored[queue.place], queue.round);
    barrier_arrive(shared.heard[queue.place]);
    if (tile.stage != Stage::gemm1) continue;
    // Releases what the barrier has shown this thread, too: the stores of all who multiplied.
    add_release(ffn.plan.ready + tile.index, 1);
  }
}

// The first warpgroup's threads that do something.
inline constexpr int kWeightProducer = 0;
inline constexpr int kTokenProducer = 32;
inline constexpr int kClaimer = 64;
inline constexpr int kFinisher = 96;

// A CTA's life, once there is a schedule. `claimed`: its first tile, known to thread kClaimer.
// kTokens…: the widths of product that are built, narrowest first.

template <typename Shape, typename Act, int... kTokens, typename Segments>
__device__ void work(const Ffn& ffn, const Schedule<Shape::kRowTiles, Segments>& schedule,
                     int claimed, FfnShared<Shape>& shared) {
  if (threadIdx.x < 128) {
    if constexpr (Shape::kMovesRegisters) shrink_registers<40>();
    if (threadIdx.x == kWeightProducer) produce_weights(ffn, schedule, shared);
    if (threadIdx.x == kTokenProducer) produce_tokens(ffn, schedule, shared);
    if (threadIdx.x == kClaimer) claim_tiles(schedule, claimed, shared);
    if (threadIdx.x == kFinisher) finish_tiles(ffn, shared);
  } else {
    if constexpr (Shape::kMovesRegisters) grow_registers<232>();
    const int warpgroup = threadIdx.x / 128 - 1;
    Cursor<kQueue> queue;
    Cursor<Shape::kStages> ring;
    for (int turn = 0;; ++turn) {
      Barrier& stored = shared.stored[queue.place];
      const Tile tile = next_tile(shared, queue);
      if (tile.stage == Stage::done) break;
      if constexpr (Shape::kTakeTurns) {
        if (turn % 2 != warpgroup) {
          ring.advance(tile.blocks);
          continue;
        }
        // The ring's barriers tell even rounds from odd ones only: who comes next must not look at
        // them before the one at work has passed its last.
        if (turn > 0) barrier_wait(shared.passed[1 - warpgroup], (turn - 1) / 2 & 1);
      }
      const int first = Shape::kTakeTurns ? 0 : warpgroup * Shape::kOwnRowTiles;
      if (first < tile.row_tiles) {
        consume_narrowest<Shape, Act, kTokens...>(
            ffn, schedule.routed(), tile, schedule.blocks(tile.segment), first, shared, ring);
      } else {
        pass(tile, shared, ring);
      }
      // h goes to the copy engines of other CTAs: a fence by every writer.
      if (tile.stage == Stage::gemm1) proxy_fence();
      barrier_arrive(stored);
    }
  }
}

// Stages begin where the swizzle's pattern does.
template <typename Shared>
constexpr std::size_t kAlignedBytes = sizeof(Shared) + 1024;
template <typename Shared>
__device__ Shared& aligned_shared(std::uint8_t* memory) {
  return *reinterpret_cast<Shared*>(memory + ((1024 - (shared_address(memory) & 1023)) & 1023));
}

template <typename Shape, typename Act, int... kTokens>
__global__ void __launch_bounds__(Shape::kThreads, 1) ffn_kernel(const __grid_constant__ Ffn ffn) {
  extern __shared__ std::uint8_t memory[];
  auto& shared = aligned_shared<FfnShared<Shape>>(memory);
  if (threadIdx.x == 0) shared.init();
  __syncthreads();
  begin();
  // Before there is a schedule: answer and the plan's sizes are then under way together.
  const int claimed = threadIdx.x == kClaimer ? claim_tile(ffn) : 0;
  work<Shape, Act, kTokens...>(ffn, Schedule<Shape::kRowTiles, PlannedSegments>(ffn, {ffn.plan}),
                               claimed, shared);
}

template <typename Shape, typename Act, int... kTokens>
void launch_ffn(const Ffn& ffn, cudaStream_t stream) {
  constexpr std::size_t kBytes = kAlignedBytes<FfnShared<Shape>>;
  const auto kernel = ffn_kernel<Shape, Act, kTokens...>;
  allow_shared_memory(kernel, kBytes);
  launch("ffn", kernel, multiprocessors(), Shape::kThreads, kBytes, stream, ffn);
}

using Rows64Tokens32 = FfnShape<1, false, 1, 32, 16>;
using Rows128Tokens64 = FfnShape<2, true, 2, 64, 8>;
using Rows128Tokens128 = FfnShape<2, true, 2, 128, 7>;
using Rows128Tokens160 = FfnShape<2, true, 2, 160, 6>;
using Rows128Tokens192 = FfnShape<2, true, 2, 192, 5>;
// 37 bytes of operands per cycle of the tensor cores where the one above takes 53.
using Rows256Tokens192 = FfnShape<2, false, 4, 192, 4>;

}  // namespace sluice::cuda
