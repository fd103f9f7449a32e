// Few tokens: routing, plan and staging in one launch. Every block of threads routes all tokens for
// itself, since telling each other what they chose would take longer; the first one writes the plan
// and the others stage.
#include "backends/cuda/launch.cuh"
#include "backends/cuda/placement.cuh"
#include "backends/cuda/prefetch.cuh"
#include "backends/cuda/route_choice.hpp"
#include "backends/cuda/routing.cuh"
#include "backends/cuda/staging.cuh"

namespace sluice::cuda {
namespace {

static_assert(kFewExperts <= 512 && kFewTokens <= 32);

// A warp per token, and a thread per expert.
template <int kPerLane, int kThreads>
__global__ void __launch_bounds__(kThreads, 1)
    route_few_kernel(const __grid_constant__ Routing args, Plan plan, Staging staging,
                     Prefetch ahead) {
  constexpr int kWarps = kThreads / 32;
  extern __shared__ float scratch[];
  __shared__ std::uint32_t chosen[kThreads];  // bit t: by token t
  __shared__ int first_row[kThreads];
  __shared__ int row[kFewTokens * kMaxTopK];
  __shared__ float factors[kFewTokens];
  __shared__ int warp_sums[kWarps];
  const bool plans = blockIdx.x == 0;
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const int expert = threadIdx.x;
  chosen[expert] = 0;
  start_next();
  prefetch(ahead);
  wait_for_earlier();
  __syncthreads();
  const int live = plan.live_tokens();
  for (int token = warp; token < plan.tokens; token += kWarps) {
    std::int32_t local = -1;
    if (token < live) {
      const RoutedSlot slot =
          route_token<kPerLane>(args, token, scratch + warp * group_scratch(args.router));
      local = local_expert(args, slot);
      if (plans) store_slot(args, plan, token, slot);
      if (lane == 0) factors[token] = slot.weight;
    } else if (plans) {
      store_absent(plan, token);
    }
    if (lane < plan.top_k) row[token * plan.top_k + lane] = local;
    if (local >= 0) atomicOr(&chosen[local], 1u << token);
  }
  __syncthreads();
  const ExpertRows own = place_expert(__popc(chosen[expert]), warp_sums);
  first_row[expert] = own.first_group * static_cast<int>(kGroupRows);
  __syncthreads();
  for (int i = threadIdx.x; i < plan.tokens * plan.top_k; i += kThreads) {
    const int local = row[i];
    // A token names an expert once: the earlier tokens that do stand before it.
    const std::uint32_t earlier = (1u << i / plan.top_k) - 1;
    row[i] = local < 0 ? -1 : first_row[local] + __popc(chosen[local] & earlier);
    if (plans) plan.slot_row[i] = row[i];
  }
  if (plans) return write_segments(plan, own);
  __syncthreads();
  const int part = blockIdx.x - 1;
  const int parts = gridDim.x - 1;
  stage_tokens(staging, {0, live, plan.top_k, row, staging.weight_on_input ? factors : nullptr},
               part, parts);
  if (staging.shared_gate != nullptr) {
    for (int token = part * kWarps + warp; token < live; token += parts * kWarps) {
      gate_shared(staging, token);
    }
  }
}

template <int kPerLane, int kThreads>
void run(const Routing& args, const Plan& plan, const Staging& staging, const Prefetch& ahead,
         cudaStream_t stream) {
  const std::size_t bytes = kThreads / 32 * group_scratch(args.router) * sizeof(float);
  const auto kernel = route_few_kernel<kPerLane, kThreads>;
  allow_shared_memory(kernel, bytes);
  launch("route_few", kernel, static_cast<unsigned>(1 + staging.column_blocks), kThreads, bytes,
         stream, args, plan, staging, ahead);
}

template <int kPerLane>
void run(const Routing& args, const Plan& plan, const Staging& staging, const Prefetch& ahead,
         cudaStream_t stream) {
  if (plan.tokens <= 16) return run<kPerLane, 512>(args, plan, staging, ahead, stream);
  run<kPerLane, 1024>(args, plan, staging, ahead, stream);
}

}  // namespace

void route_few(const Routing& args, const Plan& plan, const Staging& staging, const Prefetch& ahead,
               cudaStream_t stream) {
  switch (experts_per_lane(args.router.num_experts)) {
    case 4:
      return run<4>(args, plan, staging, ahead, stream);
    case 8:
      return run<8>(args, plan, staging, ahead, stream);
    default:
      return run<16>(args, plan, staging, ahead, stream);
  }
}

}  // namespace sluice::cuda
