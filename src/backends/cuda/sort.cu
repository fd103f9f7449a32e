// The last step of the counting sort: slots to rows, in order of token and slot.
#include "backends/cuda/launch.cuh"
#include "backends/cuda/staging.cuh"

namespace sluice::cuda {
namespace {

constexpr int kThreads = 256;

// Ranks a block's slots inside their experts, in order. One warp: `next` holds each expert's next
// row.
__device__ void rank_slots(const std::int32_t* local, int slots, int* next, std::int32_t* row) {
  const int lane = threadIdx.x % 32;
  for (int first = 0; first < slots; first += 32) {
    const int slot = first + lane;
    const int expert = slot < slots ? local[slot] : -1;
    const unsigned peers = __match_any_sync(kAllLanes, expert);
    const int rank = __popc(peers & ((1u << lane) - 1));
    if (slot < slots) row[slot] = expert < 0 ? -1 : next[expert] + rank;
    __syncwarp();
    if (expert >= 0 && rank == 0) next[expert] += __popc(peers);
    __syncwarp();
  }
}

__global__ void __launch_bounds__(kThreads) sort_kernel(Plan plan, Staging staging) {
  __shared__ std::int32_t local[kMaxSortTokens * kMaxTopK];
  __shared__ std::int32_t row[kMaxSortTokens * kMaxTopK];
  __shared__ int next[kMaxExperts];
  begin();
  const int first = blockIdx.x * plan.sort_tokens;
  const int tokens = min(plan.sort_tokens, plan.tokens - first);
  const int slots = tokens * plan.top_k;
  for (int i = threadIdx.x; i < slots; i += kThreads) {
    local[i] = plan.slot_local[first * plan.top_k + i];
  }
  for (int e = threadIdx.x; e < plan.local_experts; e += kThreads) {
    next[e] = plan.expert_row[e] + plan.block_base[blockIdx.x * plan.local_experts + e];
  }
  __syncthreads();
  if (threadIdx.x < 32) rank_slots(local, slots, next, row);
  __syncthreads();
  for (int i = threadIdx.x; i < slots; i += kThreads) {
    plan.slot_row[first * plan.top_k + i] = row[i];
    if (row[i] >= 0) plan.row_token[row[i]] = first + i / plan.top_k;
  }
  if (staging.shared_gate != nullptr) {
    const int live = min(tokens, plan.live_tokens() - first);
    for (int t = threadIdx.x / 32; t < live; t += kThreads / 32) gate_shared(staging, first + t);
  }
}

}  // namespace

void sort_rows(const Plan& plan, const Staging& staging, cudaStream_t stream) {
  launch("sort_rows", sort_kernel, plan.sort_blocks, kThreads, 0, stream, plan, staging);
}

}  // namespace sluice::cuda
