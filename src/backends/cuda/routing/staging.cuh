// Staging: tokens' rows, rounded to bf16, where GEMM 1 reads them (layout.hpp).
#pragma once

#include "backends/cuda/device/device_elements.cuh"
#include "backends/cuda/params.hpp"
#include "backends/cuda/routing/routing_weights.cuh"

namespace sluice::cuda {

// This lane's share of a group: two chunks of one row, in every `step`th column block from `first`.
// `token`: of row lane / 4 of the group, or -1.
__device__ inline void stage_group(const Staging& staging, std::int64_t group, int token,
                                   float factor, int first, int step) {
  if (token < 0) return;
  const int lane = threadIdx.x % 32;
  const std::int64_t row = static_cast<std::int64_t>(token) * staging.hidden;
#pragma unroll 4
  for (int block = first; block < staging.column_blocks; block += step) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int chunk = lane % 4 + half * 4;
      const int column = block * static_cast<int>(kBlockColumns) + chunk * 8;
      float x[8] = {};  // columns beyond H are zero: so are the weights, and NaN must not meet them
      if (column < staging.hidden)
        load_chunk(staging.hidden_states, staging.dtype, row + column, x);
#pragma unroll
      for (float& value : x) value *= factor;
      *reinterpret_cast<uint4*>(staging.x + (block * staging.groups + group) * kGroupBytes +
                                chunk_offset(lane / 4, chunk)) = pack_chunk(x);
    }
  }
}

// Consecutive tokens, and where their rows go.
struct TokenRows {
  int first;  // token
  int tokens;
  int top_k;
  const int* rows;       // [tokens, K], -1: none
  const float* factors;  // [tokens] of routed rows, or null
};

// This part of `parts` of some tokens' column blocks, by a block of threads: each token is read
// once and written to all its rows. A warp has one column block of four tokens, whose rows, where
// they chose the same expert, are neighbours in memory.
template <DType kDType>
__device__ void stage_tokens_of(const Staging& staging, const TokenRows& of, int part, int parts) {
  constexpr int kBatch = 4;  // reads under way together
  constexpr int kTokens = 4;
  const int lane = threadIdx.x % 32;
  const int chunk = lane % 8;
  const int warps = blockDim.x / 32;
  const int quads = (of.tokens + kTokens - 1) / kTokens;
  const int tasks = (staging.column_blocks - part + parts - 1) / parts * quads;
  for (int first = threadIdx.x / 32; first < tasks; first += kBatch * warps) {
    int block[kBatch];
    int token[kBatch];
    float x[kBatch][8];
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const int task = first + b * warps;
      block[b] = part + task / quads * parts;
      token[b] = task < tasks ? task % quads * kTokens + lane / 8 : of.tokens;
      const int column = block[b] * static_cast<int>(kBlockColumns) + chunk * 8;
#pragma unroll
      for (float& value : x[b]) value = 0.0f;  // beyond H so are the weights: no NaN may meet them
      if (token[b] < of.tokens && column < staging.hidden) {
        load_chunk(staging.hidden_states, kDType,
                   static_cast<std::int64_t>(of.first + token[b]) * staging.hidden + column, x[b]);
      }
    }
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      if (token[b] >= of.tokens) continue;
      std::uint8_t* const column = staging.x + block[b] * staging.groups * kGroupBytes;
      // As token_offset has it, in 32 bits: the rows of a column block stand one after the other.
      const auto store = [&](int row, const uint4& values) {
        const std::uint32_t at = row * 128u + ((chunk ^ row % 8u) * 16u);
        *reinterpret_cast<uint4*>(column + at) = values;
      };
      if (staging.has_shared) {
        store(staging.routed_groups * 8 + of.first + token[b], pack_chunk(x[b]));
      }
      if (of.factors != nullptr) {
#pragma unroll
        for (float& value : x[b]) value *= of.factors[token[b]];
      }
      const uint4 values = pack_chunk(x[b]);
      for (int slot = 0; slot < of.top_k; ++slot) {
        const int row = of.rows[token[b] * of.top_k + slot];
        if (row >= 0) store(row, values);
      }
    }
  }
}

__device__ inline void stage_tokens(const Staging& staging, const TokenRows& of, int part,
                                    int parts) {
  if (staging.dtype == DType::bf16) return stage_tokens_of<DType::bf16>(staging, of, part, parts);
  if (staging.dtype == DType::f16) return stage_tokens_of<DType::f16>(staging, of, part, parts);
  stage_tokens_of<DType::f32>(staging, of, part, parts);
}

// sigmoid(shared_gate . x), by one warp; x as it came, not rounded.
__device__ inline float gate_of(const Staging& staging, int token) {
  float sum = 0.0f;
  for (int column = threadIdx.x % 32 * 8; column < staging.hidden; column += 256) {
    float x[8];
    load_chunk(staging.hidden_states, staging.dtype,
               static_cast<std::int64_t>(token) * staging.hidden + column, x);
#pragma unroll
    for (int i = 0; i < 8; ++i) sum = fmaf(x[i], staging.shared_gate[column + i], sum);
  }
  return sigmoid_of(warp_sum(sum));
}

__device__ inline void gate_shared(const Staging& staging, int token) {
  const float gate = gate_of(staging, token);
  if (threadIdx.x % 32 == 0) staging.gate_out[token] = gate;
}

}  // namespace sluice::cuda
