// out = F * sum over slots of w (y + down_bias) + gate * shared: fp32, in slot order, one rounding.
#include "backends/cuda/combine_choice.hpp"
#include "backends/cuda/device_elements.cuh"
#include "backends/cuda/launch.cuh"
#include "backends/cuda/params.hpp"

namespace sluice::cuda {
namespace {

constexpr int kWarps = 8;

struct Slot {
  std::int32_t row;  // -1: not read, counts as zero
  float weight;
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

__device__ void add(float4& sum, float factor, const float4& term) {
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
__device__ void combine_chunk(const Combine& args, const Plan& plan, const Slot* slots, int token,
                              int chunk) {
  using Chunk = typename Rows::Chunk;
  constexpr int kBatch = 8;  // slots whose rows are under way together
  float4 sums[Rows::kFours] = {};
#pragma unroll 1
  for (int first = 0; first < plan.top_k; first += kBatch) {
    Chunk y[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) y[i] = read_chunk<Chunk>(args, slots[first + i].row, chunk);
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const Slot slot = slots[first + i];
      if (slot.row < 0) continue;
#pragma unroll
      for (int f = 0; f < Rows::kFours; ++f) {
        add(sums[f], args.weight_on_input ? 1.0f : slot.weight, Rows::four(y[i], f));
        const int column = Rows::column(chunk, f);
        if (args.down_bias == nullptr || column >= args.hidden) continue;
        const std::int64_t expert = plan.slot_local[token * plan.top_k + first + i];
        add(sums[f], slot.weight,
            *reinterpret_cast<const float4*>(args.down_bias + expert * args.hidden + column));
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

// `parts` warps per token, whose chunks alternate. The plan may be read before the FFN is done: it
// lets this kernel start after it has waited for the plan itself.
template <typename Rows>
__global__ void __launch_bounds__(kWarps * 32)
    combine_kernel(const __grid_constant__ Combine args, const __grid_constant__ Plan plan,
                   int parts) {
  __shared__ Slot slots[kWarps][kMaxTopK];
  start_next();
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  const int task = blockIdx.x * kWarps + warp;
  const int token = task / parts;
  const bool live = token < plan.live_tokens();
  Slot own{-1, 0.0f};
  if (live && lane < plan.top_k) {
    const int slot = token * plan.top_k + lane;
    own = {__ldcg(plan.slot_row + slot), __ldcg(plan.slot_weight + slot)};
  }
  slots[warp][lane] = own;
  __syncwarp();
  wait_for_earlier();
  if (!live) return;
  for (int chunk = task % parts * kCombineChunks + lane; chunk < args.y_chunks;
       chunk += parts * kCombineChunks) {
    combine_chunk<Rows>(args, plan, slots[warp], token, chunk);
  }
}

}  // namespace

void combine(const Combine& args, const Plan& plan, cudaStream_t stream) {
  const std::int64_t parts = combine_parts(plan.tokens, args.y_chunks);
  const auto kernel = args.y_rounded ? combine_kernel<RoundedRows> : combine_kernel<ExactRows>;
  launch("combine", kernel, static_cast<unsigned>(ceil_div(plan.tokens * parts, kWarps)),
         kWarps * 32, 0, stream, args, plan, static_cast<int>(parts));
}

}  // namespace sluice::cuda
