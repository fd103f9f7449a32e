// Where the weights of one token's steps are. A step is a strip of 16 rows x a block of 64 columns:
// 2 KiB in a row.
#pragma once

#include "backends/cuda/device/launch.cuh"
#include "backends/cuda/one_token/one_token_stream.cuh"
#include "backends/cuda/routing/routing.cuh"

namespace sluice::cuda {

// Who was chosen: the same in every CTA.
struct Hits {
  int count;
  std::int32_t expert[kMaxTopK];  // local
  float weight[kMaxTopK];
};

// Slots of this rank's experts, by one warp: lane k has slot k.
__device__ inline void list_hits(const Routing& routing, const RoutedSlot& slot, Hits& hits) {
  const int lane = threadIdx.x % 32;
  const std::int32_t local = lane < routing.router.top_k ? local_expert(routing, slot) : -1;
  const unsigned present = __ballot_sync(kAllLanes, local >= 0);
  if (local >= 0) {
    const int at = __popc(present & ((1u << lane) - 1));
    hits.expert[at] = local;
    hits.weight[at] = slot.weight;
  }
  if (lane == 0) hits.count = __popc(present);
}

// A strip of GEMM 1: eight units' gate and up. Slot by slot, the shared block last.
struct UpStrip {
  const FfnBlocks* blocks;
  int slot;  // in blocks->h
  int index;
  int expert;

  __device__ static int count(const OneToken& args, const Hits& hits) {
    return (hits.count * args.routed.tiles1 + args.shared.tiles1) * kTileStrips;
  }
  __device__ UpStrip(const OneToken& args, const Hits& hits, int strip) {
    const unsigned strips = args.routed.tiles1 * kTileStrips;
    const unsigned of = static_cast<unsigned>(strip) / strips;
    const bool routed = of < static_cast<unsigned>(hits.count);
    blocks = routed ? &args.routed : &args.shared;
    slot = routed ? of : 0;
    index = strip - (routed ? of : hits.count) * strips;
    expert = routed ? hits.expert[slot] : 0;
  }
  __device__ const std::uint8_t* weights() const {
    return blocks->weights1 +
           (static_cast<std::int64_t>(expert) * blocks->tiles1 + index / kTileStrips) *
               blocks->columns1 * kTileBytes +
           index % kTileStrips * kStreamStepBytes;
  }
  // Or all of its weights are zero, which an infinite x would make NaN.
  __device__ bool exists() const { return index * 8 < blocks->units; }
  // Of row `row` of eight.
  __device__ __nv_bfloat16* h(int row) const {
    const int unit = index * 8 + row;
    const std::int64_t block =
        static_cast<std::int64_t>(slot) * blocks->columns2 + unit / kBlockColumns;
    return reinterpret_cast<__nv_bfloat16*>(blocks->h + block * kTokenBlockBytes +
                                            TokenBlock::offset(unit % kBlockColumns));
  }
};

// The steps of GEMM 2: strip by strip of the output, in each slot by slot, the shared block last.
struct DownSteps {
  const OneToken& args;
  const Hits& hits;
  Share strips;  // of this CTA
  int strip_steps;

  __device__ DownSteps(const OneToken& of, const Hits& chosen)
      : args(of),
        hits(chosen),
        strips(static_cast<unsigned>(ceil_div(of.last.hidden, kStripRows)), blockIdx.x, gridDim.x),
        strip_steps(chosen.count * of.routed.columns2 +
                    (of.shared.tiles1 > 0 ? of.shared.columns2 : 0)) {}
  __device__ Share of_warp(int warp) const {
    return {static_cast<unsigned>(strips.size() * strip_steps), static_cast<unsigned>(warp),
            kDownWarps};
  }
  // Sums of a strip: the routed slots', and the shared block's.
  __device__ int sums() const { return args.shared.tiles1 > 0 ? 2 : 1; }
};

struct DownStep {
  const std::uint8_t* weights;
  const std::uint8_t* h;  // the block that it is multiplied by
  int sum;                // which it adds to
  float factor;

  __device__ DownStep(const DownSteps& of, float shared_factor, int step) {
    const unsigned strip = static_cast<unsigned>(step) / static_cast<unsigned>(of.strip_steps);
    const unsigned inside = step - strip * of.strip_steps;
    const unsigned slot = min(inside / static_cast<unsigned>(of.args.routed.columns2),
                              static_cast<unsigned>(of.hits.count));
    const bool routed = slot < static_cast<unsigned>(of.hits.count);
    const FfnBlocks& blocks = routed ? of.args.routed : of.args.shared;
    const std::int64_t block = inside - slot * of.args.routed.columns2;
    const std::int64_t expert = routed ? of.hits.expert[slot] : 0;
    const int row = of.strips.begin + strip;
    weights =
        blocks.weights2 +
        ((expert * of.args.tiles2 + row / kTileStrips) * blocks.columns2 + block) * kTileBytes +
        row % kTileStrips * kStreamStepBytes;
    h = blocks.h + ((routed ? slot : 0) * blocks.columns2 + block) * kTokenBlockBytes;
    sum = strip * of.sums() + (routed ? 0 : 1);
    factor = routed ? of.hits.weight[slot] : shared_factor;
  }
  // Another lane's.
  __device__ const std::uint8_t* h_of(int lane) const {
    return reinterpret_cast<const std::uint8_t*>(
        __shfl_sync(kAllLanes, reinterpret_cast<unsigned long long>(h), lane));
  }
};

}  // namespace sluice::cuda
