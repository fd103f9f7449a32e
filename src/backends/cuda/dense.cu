// At most eight tokens: routing, plan and staging in one launch. Every expert that is hit computes
// all the tokens, so the staged tokens are one group whatever the routing says, and are staged
// beside it. Block 0 routes, block 1 + t stages token t.
#include "backends/cuda/launch.cuh"
#include "backends/cuda/route_choice.hpp"
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
  for (int i = threadIdx.x; i < plan.ready_count; i += kThreads) plan.ready[i] = 0;
  if (threadIdx.x == 0) *plan.next_tile = 0;
  __syncthreads();
  const int token = threadIdx.x / 32;
  std::int32_t local = -1;
  if (token < plan.tokens) {
    const RoutedSlot slot =
        route_token<kPerLane>(args, token, scratch + token * group_scratch(args.router));
    local = store_slot(args, plan, token, slot);
    if (local >= 0) atomicOr(&hits.words[local / 32], 1u << local % 32);
  }
  __syncthreads();
  const int lane = threadIdx.x % 32;
  if (token < plan.tokens && lane < plan.top_k) {
    const int hit = local < 0 ? 0 : hits.rank(local);
    if (local >= 0) plan.segments[hit] = {local, 0, hit, 1};  // the same from each of its tokens
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
__global__ void __launch_bounds__(kThreads) dense_kernel(Routing args, Plan plan, Staging staging) {
  extern __shared__ float scratch[];
  begin();
  if (blockIdx.x == 0) return route_and_plan<kPerLane>(args, plan, scratch);
  const int token = blockIdx.x - 1;
  // Weight on input is defined for K = 1, and given weights or logits alike must be routed first.
  __shared__ float weight;
  if (staging.weight_on_input) {
    if (threadIdx.x < 32) {
      const float own = route_token<kPerLane>(args, token, scratch).weight;
      if (threadIdx.x == 0) weight = own;
    }
    __syncthreads();
  }
  const std::int32_t row = token;
  for (int chunk = threadIdx.x; chunk < staging.column_blocks * 8; chunk += kThreads) {
    stage_token(staging, token, &row, &weight, 1, chunk);
  }
  if (staging.has_shared && staging.shared_gate != nullptr && threadIdx.x < 32) {
    gate_shared(staging, token);
  }
}

template <int kPerLane>
void run(const Routing& args, const Plan& plan, const Staging& staging, cudaStream_t stream) {
  const std::size_t bytes = kDenseTokens * group_scratch(args.router) * sizeof(float);
  const auto kernel = dense_kernel<kPerLane>;
  allow_shared_memory(kernel, bytes);
  launch("prepare_dense", kernel, 1 + plan.tokens, kThreads, bytes, stream, args, plan, staging);
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
