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

// `rows16`: which 16 rows of GEMM 1 this warp holds.
template <typename Act, int kTokens>
__device__ void finish_gemm1(const Tile& tile, const FfnBlocks& blocks, int rows16,
                             const float (&sums)[kTokens / 2]) {
  const int in_eight = threadIdx.x % 32 / 4;
  const std::int64_t group = tile.segment.group - blocks.h_group0;
  if constexpr (Act::kGated) {
    const Act act(blocks, tile.segment, rows16 * 8 + in_eight);
#pragma unroll
    for (int j = 0; j < kTokens / 8; ++j) {
      if (j * 8 >= tile.segment.rows) break;
      store_h(blocks, group + j, rows16, act(sums[4 * j], sums[4 * j + 2]),
              act(sums[4 * j + 1], sums[4 * j + 3]));
    }
  } else {
    const Act low(blocks, tile.segment, rows16 * 16 + in_eight);
    const Act high(blocks, tile.segment, rows16 * 16 + 8 + in_eight);
#pragma unroll
    for (int j = 0; j < kTokens / 8; ++j) {
      if (j * 8 >= tile.segment.rows) break;
      store_h(blocks, group + j, rows16 * 2, low(sums[4 * j], 0.0f), low(sums[4 * j + 1], 0.0f));
      store_h(blocks, group + j, rows16 * 2 + 1, high(sums[4 * j + 2], 0.0f),
              high(sums[4 * j + 3], 0.0f));
    }
  }
}

// A lane's two columns of a token are one word.
template <int kTokens>
__device__ void store_rounded(std::uint32_t* to, std::int64_t row_words, int even, int rows,
                              std::uint64_t policy, const float (&sums)[kTokens / 2]) {
#pragma unroll
  for (int j = 0; j < kTokens / 8; ++j) {
    if (j * 8 >= rows) break;
    const bool first = kTokens > 32 || j * 8 + even < rows;
    const bool second = kTokens > 32 || j * 8 + even + 1 < rows;
    if (first) store(to, pack_bf16(sums[4 * j], sums[4 * j + 2]), policy);
    if (second) store(to + row_words, pack_bf16(sums[4 * j + 1], sums[4 * j + 3]), policy);
    to += 8 * row_words;
  }
}

// Where slots' outputs lie in the order of the tokens' slots, not of experts: rows that no token
// wants are not stored.
template <int kTokens, typename Segments>
__device__ void store_slots(const Ffn& ffn, const Segments& segments, const Tile& tile, int rows16,
                            const float (&sums)[kTokens / 2]) {
  const int lane = threadIdx.x % 32;
  const int column = rows16 * 16 + lane / 4;
  const FfnBlocks& blocks = ffn.routed;
  const std::uint64_t policy = evict_last();
#pragma unroll
  for (int j = 0; j < kTokens / 8; ++j) {
#pragma unroll
    for (int odd = 0; odd < 2; ++odd) {
      const int row = segments.slot_row(tile.segment.expert, j * 8 + lane % 4 * 2 + odd);
      if (row < 0) continue;
      const float low = sums[4 * j + odd];
      const float high = sums[4 * j + 2 + odd];
      if (blocks.rounded_y != nullptr) {
        if (rows16 * 16 >= ffn.hidden) continue;
        auto* to =
            reinterpret_cast<std::uint32_t*>(blocks.rounded_y + row * rounded_columns(ffn.hidden));
        store(to + rows16 * 8 + lane / 4, pack_bf16(low, high), policy);
      } else {
        float* to = blocks.y + static_cast<std::int64_t>(row) * ffn.hidden + column;
        if (column < ffn.hidden) store(to, low, policy);
        if (column + 8 < ffn.hidden) store(to + 8, high, policy);
      }
    }
  }
}

template <int kTokens, typename Segments>
__device__ void finish_gemm2(const Ffn& ffn, const Segments& segments, const Tile& tile,
                             const FfnBlocks& blocks, int rows16,
                             const float (&sums)[kTokens / 2]) {
  if constexpr (Segments::kSlotRows) {
    if (tile.segment.expert >= 0) return store_slots<kTokens>(ffn, segments, tile, rows16, sums);
  }
  const int lane = threadIdx.x % 32;
  const int column = rows16 * 16 + lane / 4;  // of the output
  const int even = lane % 4 * 2;              // token of a group
  const std::int64_t row = (tile.segment.group - blocks.h_group0) * kGroupRows + even;
  // Weights stream through the second-level cache; y shall be there when it is combined.
  const std::uint64_t policy = evict_last();
  if (blocks.rounded_y != nullptr) {
    if (rows16 * 16 >= ffn.hidden) return;
    const std::int64_t row_words = rounded_columns(ffn.hidden) / 2;
    auto* to = reinterpret_cast<std::uint32_t*>(blocks.rounded_y) + row * row_words + rows16 * 8 +
               lane / 4;
    return store_rounded<kTokens>(to, row_words, even, tile.segment.rows, policy, sums);
  }
  float* to = blocks.y + row * ffn.hidden + column;
  // H is a multiple of 8: each half of the 16 rows is inside or outside as a whole.
  const bool low = column < ffn.hidden;
  const bool high = column + 8 < ffn.hidden;
#pragma unroll
  for (int j = 0; j < kTokens / 8; ++j) {
    if (j * 8 >= tile.segment.rows) break;
    // A group's rows beyond the tokens exist, but few tokens should not pay for writing them.
    const bool first = kTokens > 32 || j * 8 + even < tile.segment.rows;
    const bool second = kTokens > 32 || j * 8 + even + 1 < tile.segment.rows;
    if (low && first) store(to, sums[4 * j], policy);
    if (low && second) store(to + ffn.hidden, sums[4 * j + 1], policy);
    if (high && first) store(to + 8, sums[4 * j + 2], policy);
    if (high && second) store(to + ffn.hidden + 8, sums[4 * j + 3], policy);
    to += 8 * ffn.hidden;
  }
}

}  // namespace sluice::cuda
