// The last step of the counting sort, slots to rows in order of token and slot, and staging.
#include "backends/cuda/launch.cuh"
#include "backends/cuda/staging.cuh"

namespace sluice::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads) stage_kernel(Plan plan, Staging staging) {
  __shared__ std::int32_t local[kSortTokens * kMaxTopK];
  __shared__ std::int32_t row[kSortTokens * kMaxTopK];
  begin();
  const int first = blockIdx.x * kSortTokens;
  const int tokens = min(kSortTokens, plan.tokens - first);
  const int slots = tokens * plan.top_k;
  for (int i = threadIdx.x; i < slots; i += kThreads) {
    local[i] = plan.slot_local[first * plan.top_k + i];
    row[i] = -1;
  }
  __syncthreads();
  // One thread walks the slots for each expert: the order needs no atomics.
  for (int e = threadIdx.x; e < plan.local_experts; e += kThreads) {
    int next = plan.expert_row[e] +
               plan.block_base[static_cast<std::int64_t>(e) * plan.sort_blocks + blockIdx.x];
    for (int i = 0; i < slots; ++i) {
      if (local[i] == e) row[i] = next++;
    }
  }
  __syncthreads();
  if (blockIdx.y == 0) {
    for (int i = threadIdx.x; i < slots; i += kThreads) {
      plan.slot_row[first * plan.top_k + i] = row[i];
    }
    if (staging.has_shared && staging.shared_gate != nullptr) {
      for (int t = threadIdx.x / 32; t < tokens; t += kThreads / 32)
        gate_shared(staging, first + t);
    }
  }
  // Each of the grid's columns takes its share of the chunks.
  const int chunks = staging.column_blocks * 8;
  const int share = (chunks + gridDim.y - 1) / gridDim.y;
  const int first_chunk = blockIdx.y * share;
  const int own = min(share, chunks - first_chunk);
  for (int i = threadIdx.x; i < own * tokens; i += kThreads) {
    const int t = i / own;
    stage_token(staging, first + t, row + t * plan.top_k,
                plan.slot_weight + static_cast<std::int64_t>(first + t) * plan.top_k, plan.top_k,
                first_chunk + i % own);
  }
}

}  // namespace

void stage(const Plan& plan, const Staging& staging, cudaStream_t stream) {
  // Few blocks of tokens leave most of the device idle: their columns are shared out.
  const auto columns = static_cast<unsigned>(ceil_div(264, plan.sort_blocks));
  const auto most = static_cast<unsigned>(staging.column_blocks);
  launch("stage", stage_kernel, dim3(plan.sort_blocks, columns < most ? columns : most), kThreads,
         0, stream, plan, staging);
}

}  // namespace sluice::cuda
