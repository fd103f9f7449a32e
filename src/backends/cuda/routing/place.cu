// The rest of the counting sort, the plan and the staging of many tokens, in one launch: every
// block of threads works out for itself where the experts' rows begin. Reading all counts takes
// less time than a launch that would do it once.
#include <algorithm>

#include "backends/cuda/device/launch.cuh"
#include "backends/cuda/routing/placement.cuh"
#include "backends/cuda/routing/staging.cuh"

namespace sluice::cuda {
namespace {

constexpr int kCountsPerLoad = 16;  // one byte each
// One block of threads per multiprocessor, or nearly: they are too large for two, and a second wave
// would take as long as the first.
constexpr int kStagers = 128;

// Of sixteen experts, in pairs of 16 bits: rows in all blocks of tokens, and in those before one.
struct Counts {
  std::uint32_t all[8];
  std::uint32_t before[8];
};

// `counts` are bytes.
__device__ void add_counts(std::uint32_t (&sums)[8], const uint4& counts) {
  const std::uint32_t words[4] = {counts.x, counts.y, counts.z, counts.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    sums[2 * i] += words[i] & 0x00ff00ffu;
    sums[2 * i + 1] += words[i] >> 8 & 0x00ff00ffu;
  }
}

// What add_counts left in `sums` for expert e.
__device__ int unpack(const std::uint32_t* sums, int e) {
  return sums[e / 4 * 2 + e % 2] >> e % 4 / 2 * 16 & 0xffff;
}

// Each expert's rows in all blocks of tokens, and in those before `block`. `all`, `before`:
// [count_row / 2], cleared.
__device__ void sum_counts(const Plan& plan, int block, std::uint32_t* all, std::uint32_t* before) {
  const int loads = plan.count_row / kCountsPerLoad;  // per block of tokens: a power of two
  const int own = threadIdx.x % loads;
  const int step = blockDim.x / loads;
  Counts sums{};
#pragma unroll 4
  for (int b = threadIdx.x / loads; b < plan.blocks; b += step) {
    const uint4 counts = reinterpret_cast<const uint4*>(plan.block_counts)[b * loads + own];
    add_counts(sums.all, counts);
    if (b < block) add_counts(sums.before, counts);
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    for (int lanes = loads; lanes < 32; lanes *= 2) {
      sums.all[i] += __shfl_xor_sync(kAllLanes, sums.all[i], lanes);
      sums.before[i] += __shfl_xor_sync(kAllLanes, sums.before[i], lanes);
    }
    if (static_cast<int>(threadIdx.x % 32) >= loads) continue;
    atomicAdd(&all[own * 8 + i], sums.all[i]);
    atomicAdd(&before[own * 8 + i], sums.before[i]);
  }
}

// A thread per expert.
template <int kThreads>
__global__ void __launch_bounds__(kThreads, 1) place_kernel(Plan plan, Staging staging, int parts) {
  extern __shared__ std::uint32_t memory[];
  __shared__ int warp_sums[kMaxExperts / 32];
  std::uint32_t* all = memory;
  std::uint32_t* before = all + plan.count_row / 2;
  int* first_row = reinterpret_cast<int*>(before + plan.count_row / 2);  // [count_row]
  int* row = first_row + plan.count_row;                                 // of each slot
  start_next();
  for (int i = threadIdx.x; i < plan.count_row; i += blockDim.x) memory[i] = 0;
  __syncthreads();
  wait_for_earlier();

  const bool plans = blockIdx.x == 0;
  const int block = plans ? 0 : (blockIdx.x - 1) / parts;
  const int part = plans ? 0 : (blockIdx.x - 1) % parts;
  const int first = block * plan.block_tokens;
  const int tokens = min(plan.block_tokens, plan.tokens - first);
  const int slots = tokens * plan.top_k;
  const std::int64_t first_slot = static_cast<std::int64_t>(first) * plan.top_k;
  // Under way while counts are added up: each thread's first slot, mostly its only one.
  int local = -1;
  int rank = 0;
  const auto load_slot = [&](int slot) {
    local = plan.slot_local[first_slot + slot];
    rank = plan.slot_rank[first_slot + slot];
  };
  if (static_cast<int>(threadIdx.x) < slots) load_slot(threadIdx.x);
  sum_counts(plan, block, all, before);
  __syncthreads();
  const int expert = threadIdx.x;
  const bool exists = expert < plan.local_experts;
  const ExpertRows own = place_expert(exists ? unpack(all, expert) : 0, warp_sums);
  if (plans) return write_segments(plan, own);
  if (exists) {
    first_row[expert] = own.first_group * static_cast<int>(kGroupRows) + unpack(before, expert);
  }
  __syncthreads();
  for (int slot = threadIdx.x; slot < slots; slot += kThreads) {
    if (slot >= kThreads) load_slot(slot);
    row[slot] = local < 0 ? -1 : first_row[local] + rank;
    if (part == 0) plan.slot_row[first_slot + slot] = row[slot];
  }
  __syncthreads();
  const int live = min(tokens, plan.live_tokens() - first);
  const float* factors = staging.weight_on_input ? plan.slot_weight + first : nullptr;
  stage_tokens(staging, {first, live, plan.top_k, row, factors}, part, parts);
  if (staging.shared_gate != nullptr && part == 0) {
    for (int t = threadIdx.x / 32; t < live; t += blockDim.x / 32) gate_shared(staging, first + t);
  }
}

template <int kThreads>
void run(const Plan& plan, const Staging& staging, cudaStream_t stream) {
  const int parts = std::clamp(kStagers / plan.blocks, 1, staging.column_blocks);
  const std::size_t bytes = (2 * plan.count_row + plan.block_slots()) * sizeof(int);
  const auto kernel = place_kernel<kThreads>;
  allow_shared_memory(kernel, bytes);
  launch("place", kernel, static_cast<unsigned>(1 + plan.blocks * parts), kThreads, bytes, stream,
         plan, staging, parts);
}

}  // namespace

void place(const Plan& plan, const Staging& staging, cudaStream_t stream) {
  if (plan.count_row <= 512) return run<512>(plan, staging, stream);
  run<kMaxExperts>(plan, staging, stream);
}

}  // namespace sluice::cuda
