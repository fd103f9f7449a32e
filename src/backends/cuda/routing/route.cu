// Routing of many tokens, and the first step of the counting sort: how many slots of each block of
// tokens go to each expert, and each slot's rank among them.
#include <algorithm>

#include "backends/cuda/device/launch.cuh"
#include "backends/cuda/routing/prefetch.cuh"
#include "backends/cuda/routing/route_choice.hpp"
#include "backends/cuda/routing/routing.cuh"

namespace sluice::cuda {
namespace {

// A warp per token of a block, where registers allow so many.
constexpr int max_warps(int per_lane) { return per_lane <= 8 ? 32 : 16; }

template <int kPerLane>
__global__ void __launch_bounds__(max_warps(kPerLane) * 32, 1)
    route_kernel(const __grid_constant__ Routing args, Plan plan, Prefetch ahead) {
  extern __shared__ __align__(16) float scratch[];
  // [words, experts]: bit t of an expert's words says that the block's token t chose it.
  const int words = (plan.block_tokens + 31) / 32;
  auto* chosen =
      reinterpret_cast<std::uint32_t*>(scratch + blockDim.x / 32 * group_scratch(args.router));
  auto* local = reinterpret_cast<std::int16_t*>(chosen + words * plan.count_row);  // of each slot
  for (int i = threadIdx.x; i < words * plan.count_row; i += blockDim.x) chosen[i] = 0;
  start_next();
  prefetch(ahead);
  wait_for_earlier();
  if (blockIdx.x >= plan.blocks) return;  // was here to prefetch
  __syncthreads();
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const int first = blockIdx.x * plan.block_tokens;
  const int tokens = min(plan.block_tokens, plan.tokens - first);
  const int live = plan.live_tokens() - first;
  for (int t = warp; t < tokens; t += blockDim.x / 32) {
    std::int32_t expert = -1;
    if (t < live) {
      const RoutedSlot slot =
          route_token<kPerLane>(args, first + t, scratch + warp * group_scratch(args.router));
      expert = store_slot(args, plan, first + t, slot);
    } else {
      store_absent(plan, first + t);
    }
    if (lane < plan.top_k) local[t * plan.top_k + lane] = static_cast<std::int16_t>(expert);
    if (expert >= 0) atomicOr(&chosen[t / 32 * plan.count_row + expert], 1u << t % 32);
  }
  __syncthreads();
  for (int e = threadIdx.x; e < plan.count_row; e += blockDim.x) {
    int count = 0;
    for (int w = 0; w < words; ++w) count += __popc(chosen[w * plan.count_row + e]);
    plan.block_counts[blockIdx.x * plan.count_row + e] = static_cast<std::uint8_t>(count);
  }
  // A token names an expert once, so that a slot's rank is the number of earlier tokens that do.
  for (int i = threadIdx.x; i < tokens * plan.top_k; i += blockDim.x) {
    const int expert = local[i];
    if (expert < 0) continue;
    const int t = i / plan.top_k;
    int rank = __popc(chosen[t / 32 * plan.count_row + expert] & ((1u << t % 32) - 1));
    for (int w = 0; w < t / 32; ++w) rank += __popc(chosen[w * plan.count_row + expert]);
    plan.slot_rank[first * plan.top_k + i] = static_cast<std::uint8_t>(rank);
  }
}

template <int kPerLane>
void run(const Routing& args, const Plan& plan, const Prefetch& ahead, cudaStream_t stream) {
  const int warps = std::min(plan.block_tokens, max_warps(kPerLane));
  const int words = (plan.block_tokens + 31) / 32;
  const std::size_t bytes =
      (words * plan.count_row + plan.block_slots() / 2 + warps * group_scratch(args.router)) *
      sizeof(float);
  const auto kernel = route_kernel<kPerLane>;
  allow_shared_memory(kernel, bytes);
  const int grid = ahead.bytes > 0 ? std::max(plan.blocks, kPrefetchers) : plan.blocks;
  launch("route", kernel, grid, warps * 32, bytes, stream, args, plan, ahead);
}

}  // namespace

void route(const Routing& args, const Plan& plan, const Prefetch& ahead, cudaStream_t stream) {
  with_experts_per_lane<kMaxExperts>(
      args.router.num_experts, [&]<int kPerLane>() { run<kPerLane>(args, plan, ahead, stream); });
}

}  // namespace sluice::cuda
