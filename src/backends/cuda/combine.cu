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

__device__ void add(float4& sum, float factor, const float4& term) {
  sum.x = fmaf(factor, term.x, sum.x);
  sum.y = fmaf(factor, term.y, sum.y);
  sum.z = fmaf(factor, term.z, sum.z);
  sum.w = fmaf(factor, term.w, sum.w);
}

// Read once: other lines shall stay in the caches.
__device__ float4 read_row(const Combine& args, std::int64_t row, int column) {
  if (row < 0) return {};
  return __ldcs(reinterpret_cast<const float4*>(args.y + row * args.hidden + column));
}

__device__ void combine_four(const Combine& args, const Plan& plan, const Slot* slots, int token,
                             int column) {
  constexpr int kBatch = 8;  // slots whose rows are under way together
  float4 sum{};
#pragma unroll 1
  for (int first = 0; first < plan.top_k; first += kBatch) {
    float4 y[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) y[i] = read_row(args, slots[first + i].row, column);
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const Slot slot = slots[first + i];
      if (slot.row < 0) continue;
      add(sum, args.weight_on_input ? 1.0f : slot.weight, y[i]);
      if (args.down_bias == nullptr) continue;
      const std::int64_t expert = plan.slot_local[token * plan.top_k + first + i];
      add(sum, slot.weight,
          *reinterpret_cast<const float4*>(args.down_bias + expert * args.hidden + column));
    }
  }
  sum.x *= args.output_factor, sum.y *= args.output_factor;
  sum.z *= args.output_factor, sum.w *= args.output_factor;
  if (args.has_shared) {
    add(sum, args.gate == nullptr ? 1.0f : args.gate[token],
        read_row(args, args.shared_row + token, column));
  }
  store_four(args.output, args.dtype, static_cast<std::int64_t>(token) * args.hidden + column, sum);
}

// `parts` warps per token, whose columns alternate. The plan may be read before the FFN is done: it
// lets this kernel start after it has waited for the plan itself.
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
  for (int column = task % parts * kCombineColumns + lane * 4; column < args.hidden;
       column += parts * kCombineColumns) {
    combine_four(args, plan, slots[warp], token, column);
  }
}

}  // namespace

void combine(const Combine& args, const Plan& plan, cudaStream_t stream) {
  const std::int64_t parts = combine_parts(plan.tokens, args.hidden);
  launch("combine", combine_kernel, static_cast<unsigned>(ceil_div(plan.tokens * parts, kWarps)),
         kWarps * 32, 0, stream, args, plan, static_cast<int>(parts));
}

}  // namespace sluice::cuda
