// Staging: tokens' rows, rounded to bf16, where GEMM 1 reads them (layout.hpp), a group at a time,
// so that memory is written in runs of a kilobyte.
#pragma once

#include "backends/cuda/device_elements.cuh"
#include "backends/cuda/params.hpp"
#include "backends/cuda/routing_weights.cuh"

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

// sigmoid(shared_gate . x), by one warp; x as it came, not rounded.
__device__ inline void gate_shared(const Staging& staging, int token) {
  const int lane = threadIdx.x % 32;
  float sum = 0.0f;
  for (int column = lane * 8; column < staging.hidden; column += 256) {
    float x[8];
    load_chunk(staging.hidden_states, staging.dtype,
               static_cast<std::int64_t>(token) * staging.hidden + column, x);
#pragma unroll
    for (int i = 0; i < 8; ++i) sum = fmaf(x[i], staging.shared_gate[column + i], sum);
  }
  sum = warp_sum(sum);
  if (lane == 0) staging.gate_out[token] = sigmoid_of(sum);
}

}  // namespace sluice::cuda
