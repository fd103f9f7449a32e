// At most eight tokens: routing, plan and staging in one launch. Every expert that is hit computes
// all the tokens, so that their rows are one group whatever the routing says, staged beside it.
// Block 0 routes, the others stage.
#include "backends/cuda/launch.cuh"
#include "backends/cuda/route_choice.hpp"
#include "backends/cuda/routing.cuh"
#include "backends/cuda/staging.cuh"

namespace sluice::cuda {
namespace {

constexpr int kThreads = kDenseTokens * 32;

// Expert -> how many hit experts stand before it.
struct HitList {
  std::uint32_t words[kMaxExperts / 32];

  __device__ int rank(int expert) const {
    int below = __popc(words[expert / 32] & ((1u << expert % 32) - 1));
    for (int w = 0; w < expert / 32; ++w) below += __popc(words[w]);
    return below;
  }
};

template <int kPerLane>
__device__ void route_and_plan(const Routing& args, const Plan& plan, float* scratch) {
  __shared__ HitList hits;
  if (threadIdx.x < kMaxExperts / 32) hits.words[threadIdx.x] = 0;
  for (int i = threadIdx.x; i < plan.counter_count; i += kThreads) plan.counters[i] = 0;
  __syncthreads();
  const int token = threadIdx.x / 32;
  const int live = plan.live_tokens();
  std::int32_t local = -1;
  if (token < live) {
    const RoutedSlot slot =
        route_token<kPerLane>(args, token, scratch + token * group_scratch(args.router));
    local = store_slot(args, plan, token, slot);
    if (local >= 0) atomicOr(&hits.words[local / 32], 1u << local % 32);
  }
  __syncthreads();
  const int lane = threadIdx.x % 32;
  if (token >= live && token < plan.tokens) store_absent(plan, token);
  if (token < plan.tokens && lane < plan.top_k) {
    const int hit = local < 0 ? 0 : hits.rank(local);
    if (local >= 0)
      plan.segments[hit] = {local, 0, hit, live, hit, 1};  // the same from each of its tokens
    plan.slot_row[token * plan.top_k + lane] =
        local < 0 ? -1 : hit * static_cast<int>(kGroupRows) + token;
  }
  if (threadIdx.x == 0) {
    int count = 0;
    for (const std::uint32_t word : hits.words) count += __popc(word);
    *plan.segment_count = count;
  }
}

template <int kPerLane>
__global__ void __launch_bounds__(kThreads)
    dense_kernel(const __grid_constant__ Routing args, const __grid_constant__ Plan plan,
                 const __grid_constant__ Staging staging) {
  extern __shared__ float scratch[];
  __shared__ float factors[kDenseTokens];
  start_next();
  wait_for_earlier();
  if (blockIdx.x == 0) return route_and_plan<kPerLane>(args, plan, scratch);
  const int warp = threadIdx.x / 32;
  const int live = plan.live_tokens();
  if (warp < live) {
    // Weight on input needs the weight of the token's only slot: every block routes for itself.
    float factor = 1.0f;
    if (staging.weight_on_input) {
      factor =
          route_token<kPerLane>(args, warp, scratch + warp * group_scratch(args.router)).weight;
    }
    if (threadIdx.x % 32 == 0) factors[warp] = factor;
    if (staging.shared_gate != nullptr && blockIdx.x == 1) gate_shared(staging, warp);
  }
  __syncthreads();
  const int row = threadIdx.x % 32 / 4;
  const int token = row < live ? row : -1;
  const int first = (blockIdx.x - 1) * kDenseTokens + warp;
  const int step = (gridDim.x - 1) * kDenseTokens;
  stage_group(staging, 0, token, token < 0 ? 1.0f : factors[row], first, step);
  if (staging.has_shared) stage_group(staging, 1, token, 1.0f, first, step);
}

template <int kPerLane>
void run(const Routing& args, const Plan& plan, const Staging& staging, cudaStream_t stream) {
  const std::size_t bytes = kDenseTokens * group_scratch(args.router) * sizeof(float);
  const auto kernel = dense_kernel<kPerLane>;
  allow_shared_memory(kernel, bytes);
  const std::int64_t stagers = ceil_div(staging.column_blocks, kDenseTokens);
  launch("prepare_dense", kernel, static_cast<unsigned>(1 + stagers), kThreads, bytes, stream, args,
         plan, staging);
}

}  // namespace

void prepare_dense(const Routing& args, const Plan& plan, const Staging& staging,
                   cudaStream_t stream) {
  switch (experts_per_lane(args.router.num_experts)) {
    case 4:
      return run<4>(args, plan, staging, stream);
    case 8:
      return run<8>(args, plan, staging, stream);
    case 16:
      return run<16>(args, plan, staging, stream);
    default:
      return run<32>(args, plan, staging, stream);
  }
}

}  // namespace sluice::cuda
