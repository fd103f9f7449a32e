// Staging: tokens' rows, rounded to bf16, where the GEMMs read them (layout.hpp).
#pragma once

#include "backends/cuda/device_elements.cuh"
#include "backends/cuda/params.hpp"
#include "backends/cuda/routing.cuh"

namespace sluice::cuda {

__device__ inline void store_row_chunk(const Staging& staging, std::int64_t row, int chunk,
                                       uint4 value) {
  const std::int64_t at = token_offset(row, chunk * 8, staging.groups);
  *reinterpret_cast<uint4*>(staging.x + at) = value;
}

// Chunks [first, last) of one token's row, by any number of threads: `each` of `step`. `rows` are
// the token's rows of routed experts, or -1.
__device__ inline void stage_token(const Staging& staging, int token, const std::int32_t* rows,
                                   const float* weights, int row_count, int chunk) {
  float x[8] =
      {};  // columns beyond H are zero: so are the weights there, and NaN must not meet them
  if (chunk * 8 < staging.hidden) {
    load_chunk(staging.hidden_states, staging.dtype,
               static_cast<std::int64_t>(token) * staging.hidden + chunk * 8, x);
  }
  const uint4 plain = pack_chunk(x);
  if (staging.has_shared) {
    store_row_chunk(staging, staging.shared_group * kGroupRows + token, chunk, plain);
  }
  if (staging.weight_on_input) {
#pragma unroll
    for (float& value : x) value *= weights[0];
  }
  const uint4 routed = staging.weight_on_input ? pack_chunk(x) : plain;
  for (int i = 0; i < row_count; ++i) {
    if (rows[i] >= 0) store_row_chunk(staging, rows[i], chunk, routed);
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
