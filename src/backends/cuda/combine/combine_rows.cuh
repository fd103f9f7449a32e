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

// How a row of slot outputs lies in memory: chunks of 16 bytes, each of so many times four columns.
struct ExactRows {
  using Chunk = float4;
  static constexpr int kFours = 1;
  __device__ static int column(int chunk, int) { return chunk * 4; }
  __device__ static float4 four(const Chunk& chunk, int) { return chunk; }
};
struct RoundedRows {
  using Chunk = uint4;
  static constexpr int kFours = 2;
  __device__ static int column(int chunk, int half) { return rounded_column(chunk, half); }
  __device__ static float4 four(const Chunk& chunk, int half) {
    const auto widen = [half](std::uint32_t word) {
      return __uint_as_float(half == 0 ? word << 16 : word & 0xffff0000u);
    };
    return {widen(chunk.x), widen(chunk.y), widen(chunk.z), widen(chunk.w)};
  }
};

__device__ inline void add(float4& sum, float factor, const float4& term) {
  sum.x = fmaf(factor, term.x, sum.x);
  sum.y = fmaf(factor, term.y, sum.y);
  sum.z = fmaf(factor, term.z, sum.z);
  sum.w = fmaf(factor, term.w, sum.w);
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
  constexpr int kBatch = 8;  // slots whose rows are under way together
  float4 sums[Rows::kFours] = {};
#pragma unroll 1
  for (int first = 0; first < top_k; first += kBatch) {
    Chunk y[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) y[i] = read_chunk<Chunk>(args, slots[first + i].row, chunk);
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const OutputSlot slot = slots[first + i];
      if (slot.row < 0) continue;
#pragma unroll
      for (int f = 0; f < Rows::kFours; ++f) {
        add(sums[f], args.weight_on_input ? 1.0f : slot.weight, Rows::four(y[i], f));
        const int column = Rows::column(chunk, f);
        if (args.down_bias == nullptr || column >= args.hidden) continue;
        const auto bias = static_cast<std::int64_t>(slot.expert) * args.hidden + column;
        add(sums[f], slot.weight, *reinterpret_cast<const float4*>(args.down_bias + bias));
      }
    }
  }
#pragma unroll
  for (int f = 0; f < Rows::kFours; ++f) {
    const int column = Rows::column(chunk, f);
    if (column >= args.hidden) continue;  // a rounded row is padded
    float4& sum = sums[f];
    sum.x *= args.output_factor, sum.y *= args.output_factor;
    sum.z *= args.output_factor, sum.w *= args.output_factor;
    const std::int64_t at = static_cast<std::int64_t>(token) * args.hidden + column;
    if (args.shared_y != nullptr) {
      add(sum, args.gate == nullptr ? 1.0f : args.gate[token],
          __ldcs(reinterpret_cast<const float4*>(args.shared_y + at)));
    }
    store_four(args.output, args.dtype, at, sum);
  }
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
