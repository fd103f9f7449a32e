// A token's output from its slots' outputs: F * sum of w (y + down_bias) + gate * shared, in fp32,
// in slot order, rounded once.
#pragma once

#include "backends/cuda/combine/combine_choice.hpp"
#include "backends/cuda/device/device_elements.cuh"
#include "backends/cuda/params.hpp"

namespace sluice::cuda {

inline constexpr int kCombineBlock = 8;  // warps of a block of threads

struct OutputSlot {
  std::int32_t row;  // of y; -1: not read, counts as zero
  float weight;
  std::int32_t expert;  // local; set where the row is and there are biases
};

// What 16 bytes of a row of slot outputs hold: so many pairs of columns (layout.hpp).
struct ExactRows {
  using Chunk = float4;
  static constexpr int kPairs = 2;
  __device__ static float2 pair(const Chunk& chunk, int i) {
    return i == 0 ? float2{chunk.x, chunk.y} : float2{chunk.z, chunk.w};
  }
};
struct RoundedRows {
  using Chunk = uint4;
  static constexpr int kPairs = 4;
  __device__ static float2 pair(const Chunk& chunk, int i) {
    const std::uint32_t words[] = {chunk.x, chunk.y, chunk.z, chunk.w};
    return {__uint_as_float(words[i] << 16), __uint_as_float(words[i] & 0xffff0000u)};
  }
};

__device__ inline void add(float2& sum, float factor, const float2& term) {
  sum.x = fmaf(factor, term.x, sum.x);
  sum.y = fmaf(factor, term.y, sum.y);
}

// Read once: other lines shall stay in the caches.
template <typename Chunk>
__device__ Chunk read_chunk(const Combine& args, std::int64_t row, int chunk) {
  if (row < 0) return {};
  return __ldcs(static_cast<const Chunk*>(args.y) + row * args.y_chunks + chunk);
}

template <typename Rows>
__device__ void combine_chunk(const Combine& args, const OutputSlot* slots, int top_k, int token,
                              int chunk) {
  using Chunk = typename Rows::Chunk;
  constexpr int kPairs = Rows::kPairs;
  constexpr int kBatch = 8;  // slots whose rows are under way together
  const int column = pair_column(chunk, kPairs);
  const bool both = column + 8 < args.hidden;  // the last block may have only eight columns
  float2 sums[kPairs] = {};
#pragma unroll 1
  for (int first = 0; first < top_k; first += kBatch) {
    Chunk y[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) y[i] = read_chunk<Chunk>(args, slots[first + i].row, chunk);
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const OutputSlot slot = slots[first + i];
      if (slot.row < 0) continue;
      const float factor = args.weight_on_input ? 1.0f : slot.weight;
#pragma unroll
      for (int p = 0; p < kPairs; ++p) add(sums[p], factor, Rows::pair(y[i], p));
      if (args.down_bias == nullptr) continue;
      const float* bias =
          args.down_bias + static_cast<std::int64_t>(slot.expert) * args.hidden + column;
#pragma unroll
      for (int p = 0; p < kPairs; ++p) {
        add(sums[p], slot.weight, {bias[p], both ? bias[p + 8] : 0.0f});
      }
    }
  }
  float low[kPairs];
  float high[kPairs];
  const float2* const shared =
      args.shared_y == nullptr
          ? nullptr
          : args.shared_y + token * (output_columns(args.hidden) / 2) + chunk * kPairs;
  const float gate = args.gate == nullptr ? 1.0f : args.gate[token];
#pragma unroll
  for (int p = 0; p < kPairs; ++p) {
    float2 sum{sums[p].x * args.output_factor, sums[p].y * args.output_factor};
    if (shared != nullptr) add(sum, gate, __ldcs(shared + p));
    low[p] = sum.x;
    high[p] = sum.y;
  }
  const std::int64_t at = static_cast<std::int64_t>(token) * args.hidden + column;
  store_elements(args.output, args.dtype, at, low);
  if (both) store_elements(args.output, args.dtype, at + 8, high);
}

// One of the `parts` warps that share a token's row: their chunks alternate. `slots`: [kMaxTopK].
template <typename Rows>
__device__ void combine_part(const Combine& args, const OutputSlot* slots, int top_k, int token,
                             int part, int parts) {
  for (int chunk = part * kCombineChunks + static_cast<int>(threadIdx.x % 32);
       chunk < args.y_chunks; chunk += parts * kCombineChunks) {
    combine_chunk<Rows>(args, slots, top_k, token, chunk);
  }
}

}  // namespace sluice::cuda
