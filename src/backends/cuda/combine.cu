// out = F * sum over slots of w (y + down_bias) + gate * shared: fp32, in slot order, one rounding.
#include "backends/cuda/device_elements.cuh"
#include "backends/cuda/launch.cuh"
#include "backends/cuda/params.hpp"

namespace sluice::cuda {
namespace {

constexpr int kThreads = 128;

__device__ void add(float4& sum, float factor, const float4& term) {
  sum.x = fmaf(factor, term.x, sum.x);
  sum.y = fmaf(factor, term.y, sum.y);
  sum.z = fmaf(factor, term.z, sum.z);
  sum.w = fmaf(factor, term.w, sum.w);
}

// Rows of -1 are not read and count as zero.
__device__ float4 read_row(const Combine& args, std::int64_t row, int column) {
  if (row < 0) return {};
  return *reinterpret_cast<const float4*>(args.y + row * args.hidden + column);
}

__device__ void combine_four(const Combine& args, const Plan& plan, int token, int column) {
  constexpr int kBatch = 8;  // slots whose rows are under way together
  float4 sum{};
#pragma unroll 1
  for (int first = 0; first < plan.top_k; first += kBatch) {
    std::int32_t rows[kBatch];
    float weights[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int slot = token * plan.top_k + first + i;
      const bool exists = first + i < plan.top_k;
      rows[i] = exists ? plan.slot_row[slot] : -1;
      weights[i] = exists ? plan.slot_weight[slot] : 0.0f;
    }
    float4 y[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) y[i] = read_row(args, rows[i], column);
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      if (rows[i] < 0) continue;
      add(sum, args.weight_on_input ? 1.0f : weights[i], y[i]);
      if (args.down_bias == nullptr) continue;
      const std::int64_t expert = plan.slot_local[token * plan.top_k + first + i];
      add(sum, weights[i],
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

__global__ void __launch_bounds__(kThreads) combine_kernel(Combine args, Plan plan) {
  begin();
  const int quads = args.hidden / 4;
  const std::int64_t at = blockIdx.x * static_cast<std::int64_t>(kThreads) + threadIdx.x;
  const int token = static_cast<int>(at / quads);
  if (token >= plan.live_tokens()) return;
  combine_four(args, plan, token, static_cast<int>(at % quads) * 4);
}

}  // namespace

void combine(const Combine& args, const Plan& plan, cudaStream_t stream) {
  const std::int64_t threads = static_cast<std::int64_t>(plan.tokens) * (args.hidden / 4);
  launch("combine", combine_kernel, static_cast<unsigned>(ceil_div(threads, kThreads)), kThreads, 0,
         stream, args, plan);
}

}  // namespace sluice::cuda
