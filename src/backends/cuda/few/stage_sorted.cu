// Few tokens, sorted by experts: routing, plan and staging in one launch. Every block of threads
// routes all tokens for itself, since telling each other what they chose would take longer; the
// first one writes what combine() needs and the others stage.
#include "backends/cuda/device/launch.cuh"
#include "backends/cuda/few/sorted_plan.cuh"
#include "backends/cuda/routing/staging.cuh"

namespace sluice::cuda {
namespace {

// What the FFN counts up: in a kernel of its own, so that its CTAs may claim tiles while the tokens
// are still being staged.
__global__ void clear_kernel(const __grid_constant__ Plan plan) {
  begin();
  for (int i = threadIdx.x; i < plan.counter_count; i += blockDim.x) plan.counters[i] = 0;
}

template <int kPerLane, int kThreads>
__global__ void __launch_bounds__(kThreads, 1)
    stage_sorted_kernel(const __grid_constant__ Routing args, const __grid_constant__ Plan plan,
                        const __grid_constant__ Staging staging) {
  constexpr int kWarps = kThreads / 32;
  extern __shared__ __align__(16) float scratch[];
  __shared__ SortedPlan sorted;
  __shared__ int row[kFewTokens * kMaxTopK];
  __shared__ float factors[kFewTokens];
  const bool plans = blockIdx.x == 0;
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  sorted.clear();
  begin();
  __syncthreads();
  const int live = plan.live_tokens();
  for (int token = warp; token < plan.tokens; token += kWarps) {
    std::int32_t local = -1;
    if (token < live) {
      // Weights are for combine(), and for rows that are weighted as they are staged.
      float* const own = scratch + warp * group_scratch(args.router);
      const RoutedSlot slot = plans || staging.weight_on_input
                                  ? route_token<kPerLane>(args, token, own)
                                  : choose_token<kPerLane>(args, token, own);
      local = local_expert(args, slot);
      if (plans) store_slot(args, plan, token, slot);
      if (lane == 0) factors[token] = slot.weight;
    } else if (plans) {
      store_absent(plan, token);
    }
    if (lane < plan.top_k) row[token * plan.top_k + lane] = local;
    if (local >= 0) sorted.mark(token, local);
  }
  __syncthreads();
  sorted.list();
  __syncthreads();
  for (int i = threadIdx.x; i < plan.tokens * plan.top_k; i += kThreads) {
    const int local = row[i];
    row[i] = local < 0 ? -1 : sorted.row(i / plan.top_k, local);
    if (plans) plan.slot_row[i] = row[i];
  }
  if (plans) return;
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
void run(const Routing& args, const Plan& plan, const Staging& staging, cudaStream_t stream) {
  const std::size_t bytes = kThreads / 32 * group_scratch(args.router) * sizeof(float);
  const auto kernel = stage_sorted_kernel<kPerLane, kThreads>;
  allow_shared_memory(kernel, bytes);
  launch("stage_sorted", kernel, static_cast<unsigned>(1 + staging.column_blocks), kThreads, bytes,
         stream, args, plan, staging);
}

template <int kPerLane>
void run(const Routing& args, const Plan& plan, const Staging& staging, cudaStream_t stream) {
  if (plan.tokens <= 16) return run<kPerLane, 512>(args, plan, staging, stream);
  run<kPerLane, 1024>(args, plan, staging, stream);
}

}  // namespace

void clear_counters(const Plan& plan, cudaStream_t stream) {
  launch("clear_counters", clear_kernel, 1, 256, 0, stream, plan);
}

void stage_sorted(const Routing& args, const Plan& plan, const Staging& staging,
                  cudaStream_t stream) {
  with_experts_per_lane<kFewExperts>(
      args.router.num_experts, [&]<int kPerLane>() { run<kPerLane>(args, plan, staging, stream); });
}

}  // namespace sluice::cuda
