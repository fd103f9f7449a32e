// The feed-forward kernel: both GEMMs of every expert, persistent, one CTA per multiprocessor.
// One warp copies (a thread for the weights, one for the tokens), warpgroups multiply.
#pragma once

#include "backends/cuda/ffn_epilogue.cuh"
#include "backends/cuda/ffn_pipeline.cuh"
#include "backends/cuda/launch.cuh"
#include "backends/cuda/wgmma.cuh"

namespace sluice::cuda {

// One warpgroup's part of a tile: 64 rows x kTokens.
template <typename Shape, typename Act, int kTokens>
__device__ void consume(const Ffn& ffn, const Tile& tile, const FfnBlocks& blocks,
                        FfnShared<Shape>& shared, Cursor<Shape::kStages>& ring) {
  const int warpgroup = threadIdx.x / 128 - 1;
  const bool speaks = threadIdx.x % 32 == 0;
  // Cleared, not left to the first product: undefined registers would stay reserved, for every
  // width that is built, throughout the loop over tiles.
  float sums[kTokens / 2] = {};
  int before = -1;  // the stage whose products are still under way
  for (int block = tile.block; block < tile.block_end; ++block) {
    barrier_wait(shared.full[ring.place], ring.round);
    const std::uint64_t a = matrix_descriptor(shared_address(shared.weights(ring.place)) +
                                              warpgroup * static_cast<int>(kTileBytes));
    const std::uint64_t b = matrix_descriptor(shared_address(shared.tokens(ring.place)));
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      wgmma(sums, a + k * 2, b + k * 2);
    }
    wgmma_commit();
    if (before >= 0) {
      wgmma_wait<1>();
      if (speaks) barrier_arrive(shared.empty[before]);
    }
    before = ring.place;
    ring.advance();
  }
  wgmma_wait<0>();
  if (speaks) barrier_arrive(shared.empty[before]);
  const int warp = threadIdx.x / 32 - 4;
  if (tile.stage == Stage::gemm1) {
    finish_gemm1<Act, kTokens>(tile, blocks, warp, sums);
  } else {
    finish_gemm2<kTokens>(ffn, tile, warp, sums);
  }
}

// The narrowest product of the list that holds the segment's tokens.
template <typename Shape, typename Act, int kTokens, int... kWider>
__device__ void consume_narrowest(const Ffn& ffn, const Tile& tile, const FfnBlocks& blocks,
                                  FfnShared<Shape>& shared, Cursor<Shape::kStages>& ring) {
  if constexpr (sizeof...(kWider) > 0) {
    if (tile.segment.groups * 8 > kTokens) {
      return consume_narrowest<Shape, Act, kWider...>(ffn, tile, blocks, shared, ring);
    }
  }
  consume<Shape, Act, kTokens>(ffn, tile, blocks, shared, ring);
}

// kTokens…: the widths of product that are built, narrowest first.
template <typename Shape, typename Act, int... kTokens>
__global__ void __launch_bounds__(Shape::kThreads, 1) ffn_kernel(const __grid_constant__ Ffn ffn) {
  extern __shared__ std::uint8_t memory[];
  auto& shared = *reinterpret_cast<FfnShared<Shape>*>(
      memory + ((1024 - (shared_address(memory) & 1023)) & 1023));
  constexpr bool kMovesRegisters = Shape::kWarpGroups > 1;
  if (threadIdx.x == 0) shared.init();
  __syncthreads();
  begin();
  const Schedule<Shape::kWarpGroups> schedule(ffn);

  if (threadIdx.x < 128) {
    if constexpr (kMovesRegisters) shrink_registers<40>();
    if (threadIdx.x == 0) produce_weights(ffn, schedule, shared);
    if (threadIdx.x == 32) produce_tokens(ffn, schedule, shared);
  } else {
    if constexpr (kMovesRegisters) grow_registers<232>();
    Cursor<kQueue> queue;
    Cursor<Shape::kStages> ring;
    for (;;) {
      const Tile tile = next_tile(shared, queue);
      if (tile.stage == Stage::done) break;
      consume_narrowest<Shape, Act, kTokens...>(ffn, tile, schedule.blocks(tile.segment), shared,
                                                ring);
      if (tile.stage == Stage::gemm1) {
        // h goes to the copy engines of other CTAs: every writer's fence, then one count.
        proxy_fence();
        named_barrier(1, 128 * Shape::kWarpGroups);
        if (threadIdx.x == 128) {
          __threadfence();
          add_release(ffn.plan.ready + tile.index, 1);
        }
      }
    }
  }
}

inline int multiprocessors() {
  int device = 0;
  int count = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device),
        "cudaDeviceGetAttribute(MultiProcessorCount)");
  return count;
}

template <typename Shape, typename Act, int... kTokens>
void launch_ffn(const Ffn& ffn, cudaStream_t stream) {
  constexpr std::size_t kBytes = sizeof(FfnShared<Shape>) + 1024;
  const auto kernel = ffn_kernel<Shape, Act, kTokens...>;
  allow_shared_memory(kernel, kBytes);
  launch("ffn", kernel, multiprocessors(), Shape::kThreads, kBytes, stream, ffn);
}

using FewTokens = FfnShape<1, 32, 16>;
using SomeTokens = FfnShape<2, 64, 8>;
using ManyTokens = FfnShape<2, 256, 4>;

}  // namespace sluice::cuda
