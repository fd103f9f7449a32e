// Routing of many tokens, and the first step of the counting sort: how many slots of each block of
// tokens go to each expert.
#include "backends/cuda/launch.cuh"
#include "backends/cuda/route_choice.hpp"
#include "backends/cuda/routing.cuh"

namespace sluice::cuda {
namespace {

// A warp per token of a block, where registers allow so many.
constexpr int max_warps(int per_lane) { return per_lane <= 8 ? kMaxSortTokens : 16; }

template <int kPerLane>
__global__ void __launch_bounds__(max_warps(kPerLane) * 32) route_kernel(Routing args, Plan plan) {
  extern __shared__ float scratch[];
  __shared__ int counts[kMaxExperts];
  begin();
  for (int e = threadIdx.x; e < plan.local_experts; e += blockDim.x) counts[e] = 0;
  __syncthreads();
  const int warp = threadIdx.x / 32;
  const int first = blockIdx.x * plan.sort_tokens;
  const int last = min(first + plan.sort_tokens, plan.tokens);
  const int live = plan.live_tokens();
  for (int token = first + warp; token < last; token += blockDim.x / 32) {
    if (token >= live) {
      store_absent(plan, token);
      continue;
    }
    const RoutedSlot slot =
        route_token<kPerLane>(args, token, scratch + warp * group_scratch(args.router));
    const std::int32_t local = store_slot(args, plan, token, slot);
    if (local >= 0) atomicAdd(&counts[local], 1);
  }
  __syncthreads();
  for (int e = threadIdx.x; e < plan.local_experts; e += blockDim.x) {
    plan.block_base[blockIdx.x * plan.local_experts + e] = counts[e];
  }
}

template <int kPerLane>
void run(const Routing& args, const Plan& plan, cudaStream_t stream) {
  const int warps = plan.sort_tokens < max_warps(kPerLane) ? plan.sort_tokens : max_warps(kPerLane);
  const std::size_t bytes = warps * group_scratch(args.router) * sizeof(float);
  const auto kernel = route_kernel<kPerLane>;
  allow_shared_memory(kernel, bytes);
  launch("route", kernel, plan.sort_blocks, warps * 32, bytes, stream, args, plan);
}

}  // namespace

void route(const Routing& args, const Plan& plan, cudaStream_t stream) {
  switch (experts_per_lane(args.router.num_experts)) {
    case 4:
      return run<4>(args, plan, stream);
    case 8:
      return run<8>(args, plan, stream);
    case 16:
      return run<16>(args, plan, stream);
    default:
      return run<32>(args, plan, stream);
  }
}

}  // namespace sluice::cuda
