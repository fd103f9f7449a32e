// The tokens' rows, and what the FFN counts up: all that cannot be found out by the kernels after
// this one for themselves.
#include "backends/cuda/device/launch.cuh"
#include "backends/cuda/device/ptx.cuh"
#include "backends/cuda/few/few.hpp"
#include "backends/cuda/routing/staging.cuh"

namespace sluice::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / 32;

__global__ void __launch_bounds__(kThreads)
    stage_dense_kernel(const __grid_constant__ Plan plan, const __grid_constant__ Staging staging,
                       const __grid_constant__ Routing routing) {
  begin();
  if (blockIdx.x == 0) {
    // The FFN's CTAs are about to read them.
    const int bytes = plan.tokens * static_cast<int>(routing.router.num_experts) *
                      (routing.logits_dtype == DType::f32 ? 4 : 2);
    for (int at = threadIdx.x * 128; routing.logits != nullptr && at < bytes;
         at += kThreads * 128) {
      prefetch_line(static_cast<const std::uint8_t*>(routing.logits) + at);
    }
    for (int i = threadIdx.x; i < plan.counter_count; i += kThreads) plan.counters[i] = 0;
  }
  const int live = plan.live_tokens();
  const int warp = blockIdx.x * kWarps + threadIdx.x / 32;
  const int group = warp % static_cast<int>(staging.groups);
  const int block = warp / static_cast<int>(staging.groups);
  const int token = group * static_cast<int>(kGroupRows) + threadIdx.x % 32 / 4;
  stage_group(staging, group, token < live ? token : -1, 1.0f, block, staging.column_blocks);
  if (staging.shared_gate == nullptr) return;
  const int warps = gridDim.x * kWarps;
  for (int i = warps - 1 - warp; i < live; i += warps) gate_shared(staging, i);
}

}  // namespace

void stage_dense(const Routing& routing, const Plan& plan, const Staging& staging,
                 cudaStream_t stream) {
  const std::int64_t warps = staging.column_blocks * staging.groups;
  launch("stage_dense", stage_dense_kernel, static_cast<unsigned>(ceil_div(warps, kWarps)),
         kThreads, 0, stream, plan, staging, routing);
}

}  // namespace sluice::cuda
