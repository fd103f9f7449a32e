// out = F * sum over slots of w (y + down_bias) + gate * shared, in fp32, in slot order.
#include "backends/cuda/device_elements.cuh"
#include "backends/cuda/launch.cuh"
#include "backends/cuda/params.hpp"

namespace sluice::cuda {
namespace {

constexpr int kThreads = 128;

__device__ float4 read_row(const Combine& args, std::int64_t row, int column) {
  const float* y = args.y + row * args.hidden + column;
  float4 sum = *reinterpret_cast<const float4*>(y);
  for (int part = 1; part < args.split; ++part) {
    const float4 more = *reinterpret_cast<const float4*>(y + part * args.y_rows * args.hidden);
    sum.x += more.x, sum.y += more.y, sum.z += more.z, sum.w += more.w;
  }
  return sum;
}

__device__ void add(float4& sum, float factor, const float4& term) {
  sum.x = fmaf(factor, term.x, sum.x);
  sum.y = fmaf(factor, term.y, sum.y);
  sum.z = fmaf(factor, term.z, sum.z);
  sum.w = fmaf(factor, term.w, sum.w);
}

__global__ void __launch_bounds__(kThreads) combine_kernel(Combine args) {
  begin();
  const Plan& plan = args.plan;
  const int quads = args.hidden / 4;
  const std::int64_t at = blockIdx.x * static_cast<std::int64_t>(kThreads) + threadIdx.x;
  const int token = static_cast<int>(at / quads);
  const int column = static_cast<int>(at % quads) * 4;
  if (token >= plan.tokens) return;
  float4 sum{};
#pragma unroll 8
  for (int slot = 0; slot < plan.top_k; ++slot) {
    const int row = plan.slot_row[token * plan.top_k + slot];
    if (row < 0) continue;
    const float weight = plan.slot_weight[token * plan.top_k + slot];
    add(sum, args.weight_on_input ? 1.0f : weight, read_row(args, row, column));
    if (args.down_bias != nullptr) {
      const std::int64_t expert = plan.slot_local[token * plan.top_k + slot];
      add(sum, weight,
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

}  // namespace

void combine(const Combine& args, cudaStream_t stream) {
  const std::int64_t threads = static_cast<std::int64_t>(args.plan.tokens) * (args.hidden / 4);
  launch("combine", combine_kernel, static_cast<unsigned>(ceil_div(threads, kThreads)), kThreads, 0,
         stream, args);
}

}  // namespace sluice::cuda
