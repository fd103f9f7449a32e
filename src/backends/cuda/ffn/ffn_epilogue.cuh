// What becomes of a tile's sums: h after GEMM 1, y after GEMM 2.
#pragma once

#include "backends/cuda/device/device_elements.cuh"
#include "backends/cuda/device/ptx.cuh"
#include "backends/cuda/ffn/activation.cuh"
#include "backends/cuda/ffn/ffn_schedule.cuh"

namespace sluice::cuda {

// SwiGLU without biases, alpha, beta and limit.
struct PlainSwiglu {
  static constexpr bool kGated = true;
  __device__ PlainSwiglu(const FfnBlocks&, const Segment&, int) {}
  __device__ float operator()(float gate, float up) const { return times_sigmoid(gate, gate) * up; }
};

// Any activation, for one unit: its biases are read once.
template <bool kGatedOf>
struct AnyActivation {
  static constexpr bool kGated = kGatedOf;
  const ActivationParams& how;
  float gate_bias = 0.0f;
  float up_bias = 0.0f;

  __device__ AnyActivation(const FfnBlocks& blocks, const Segment& segment, int unit)
      : how(blocks.activation) {
    if (blocks.bias1 == nullptr) return;
    const std::int64_t units = blocks.columns2 * kBlockColumns;
    gate_bias = blocks.bias1[segment.expert * 2 * units + unit];
    up_bias = blocks.bias1[(segment.expert * 2 + 1) * units + unit];
  }
  __device__ float operator()(float gate, float up) const {
    return activate(how, gate + gate_bias, up + up_bias);
  }
};

// Eight units of a token are one chunk of h. `chunk` counts them over the block's width.
__device__ inline void store_h(const FfnBlocks& blocks, std::int64_t group, int chunk,
                               float even_token, float odd_token) {
  const int lane = threadIdx.x % 32;
  // The lane held two tokens of unit lane / 4; now it holds two units of token lane / 4.
  const std::uint32_t units = transpose(pack_bf16(even_token, odd_token));
  std::uint8_t* to = blocks.h + (chunk / 8 * blocks.h_groups + group) * kGroupBytes +
                     chunk_offset(lane / 4, chunk % 8) + lane % 4 * 4;
  *reinterpret_cast<std::uint32_t*>(to) = units;
}

// `rows16`: which 16 rows of GEMM 1 this warp holds. A chunk of units exists or not as a whole; one
// that does not has weights of zero, and must not make a NaN of an infinite x.
template <typename Act, int kTokens>
__device__ void finish_gemm1(const Tile& tile, const FfnBlocks& blocks, int rows16,
                             const float (&sums)[kTokens / 2]) {
  const int in_eight = threadIdx.x % 32 / 4;
  const std::int64_t group = tile.segment.group - blocks.h_group0;
  if constexpr (Act::kGated) {
    const Act act(blocks, tile.segment, rows16 * 8 + in_eight);
    const bool exists = rows16 * 8 < blocks.units;
    const auto h = [&](float gate, float up) { return exists ? act(gate, up) : 0.0f; };
#pragma unroll
    for (int j = 0; j < kTokens / 8; ++j) {
      if (j * 8 >= tile.segment.rows) break;
      store_h(blocks, group + j, rows16, h(sums[4 * j], sums[4 * j + 2]),
              h(sums[4 * j + 1], sums[4 * j + 3]));
    }
  } else {
    const Act low(blocks, tile.segment, rows16 * 16 + in_eight);
    const Act high(blocks, tile.segment, rows16 * 16 + 8 + in_eight);
    const auto h = [&](const Act& act, int unit, float sum) {
      return unit < blocks.units ? act(sum, 0.0f) : 0.0f;
    };
    const int unit = rows16 * 16;
#pragma unroll
    for (int j = 0; j < kTokens / 8; ++j) {
      if (j * 8 >= tile.segment.rows) break;
      store_h(blocks, group + j, rows16 * 2, h(low, unit, sums[4 * j]),
              h(low, unit, sums[4 * j + 1]));
      store_h(blocks, group + j, rows16 * 2 + 1, h(high, unit + 8, sums[4 * j + 2]),
              h(high, unit + 8, sums[4 * j + 3]));
    }
  }
}

// A lane's two columns of a token, as they stand side by side in a row of outputs: two floats, or
// one word of bf16.
__device__ inline float2 output_pair(const float2*, float low, float high) { return {low, high}; }
__device__ inline std::uint32_t output_pair(const std::uint32_t*, float low, float high) {
  return pack_bf16(low, high);
}

// Where slots' outputs lie in the order of the tokens' slots, not of experts: rows that no token
// wants are not stored. `to`: the lane's pair of row 0.
template <int kTokens, typename Pair, typename Segments>
__device__ void store_slots(Pair* to, std::int64_t row_pairs, const Segments& segments,
                            const Tile& tile, const float (&sums)[kTokens / 2]) {
  // Weights stream through the second-level cache; y shall be there when it is combined.
  const std::uint64_t policy = evict_last();
#pragma unroll
  for (int j = 0; j < kTokens / 8; ++j) {
#pragma unroll
    for (int odd = 0; odd < 2; ++odd) {
      const int token = j * 8 + static_cast<int>(threadIdx.x) % 4 * 2 + odd;
      const int row = segments.slot_row(tile.segment.expert, token);
      if (row < 0) continue;
      store(to + row * row_pairs, output_pair(to, sums[4 * j + odd], sums[4 * j + 2 + odd]),
            policy);
    }
  }
}

// Where a segment's outputs stand side by side.
template <int kTokens, typename Pair>
__device__ void store_rows(Pair* to, std::int64_t row_pairs, const FfnBlocks& blocks,
                           const Tile& tile, const float (&sums)[kTokens / 2]) {
  const std::uint64_t policy = evict_last();
  const int even = static_cast<int>(threadIdx.x) % 4 * 2;  // token of a group
  to += ((tile.segment.group - blocks.h_group0) * kGroupRows + even) * row_pairs;
#pragma unroll
  for (int j = 0; j < kTokens / 8; ++j) {
    if (j * 8 >= tile.segment.rows) break;
    // A group's rows beyond the tokens exist, but few tokens should not pay for writing them.
    const bool first = kTokens > 32 || j * 8 + even < tile.segment.rows;
    const bool second = kTokens > 32 || j * 8 + even + 1 < tile.segment.rows;
    if (first) store(to, output_pair(to, sums[4 * j], sums[4 * j + 2]), policy);
    if (second) store(to + row_pairs, output_pair(to, sums[4 * j + 1], sums[4 * j + 3]), policy);
    to += 8 * row_pairs;
  }
}

template <int kTokens, typename Segments>
__device__ void finish_gemm2(const Ffn& ffn, const Segments& segments, const Tile& tile,
                             const FfnBlocks& blocks, int rows16,
                             const float (&sums)[kTokens / 2]) {
  if (rows16 * 16 >= ffn.hidden) return;
  const std::int64_t row_pairs = output_columns(ffn.hidden) / 2;
  const auto store_from = [&](auto* y) {
    y += rows16 * 8 + threadIdx.x % 32 / 4;
    if constexpr (Segments::kSlotRows) {
      if (tile.segment.expert >= 0) {
        return store_slots<kTokens>(y, row_pairs, segments, tile, sums);
      }
    }
    store_rows<kTokens>(y, row_pairs, blocks, tile, sums);
  };
  if (blocks.rounded_y != nullptr) return store_from(blocks.rounded_y);
  store_from(blocks.y);
}

}  // namespace sluice::cuda
