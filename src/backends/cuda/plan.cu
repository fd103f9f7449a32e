// The second step of the counting sort, by one block of threads: where each expert's rows begin,
// and the segments that the GEMMs work through.
#include "backends/cuda/launch.cuh"
#include "backends/cuda/params.hpp"
#include "backends/cuda/routing.cuh"

namespace sluice::cuda {
namespace {

constexpr int kLongestSegment = 64;  // groups; more than any FfnTile has

// Turns an expert's counts per block of tokens into ranks; returns its total. Neighbouring threads
// have neighbouring experts; the loads of a batch are under way together.
__device__ int scan_blocks(const Plan& plan, int expert) {
  constexpr int kBatch = 32;
  std::int32_t* counts = plan.block_base + expert;
  int total = 0;
  for (int first = 0; first < plan.sort_blocks; first += kBatch) {
    int batch[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      batch[i] = first + i < plan.sort_blocks ? counts[(first + i) * plan.local_experts] : 0;
    }
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      if (first + i < plan.sort_blocks) counts[(first + i) * plan.local_experts] = total;
      total += batch[i];
    }
  }
  return total;
}

// Sum of `value` over the threads below this one. Every thread calls.
__device__ int exclusive_sum(int value, int* warp_sums) {
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  int inclusive = value;
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const int below = __shfl_up_sync(kAllLanes, inclusive, step);
    if (lane >= step) inclusive += below;
  }
  if (lane == 31) warp_sums[warp] = inclusive;
  __syncthreads();
  int before = 0;
  for (int w = 0; w < warp; ++w) before += warp_sums[w];
  return before + inclusive - value;
}

// One thread per expert.
__global__ void __launch_bounds__(kMaxExperts) plan_kernel(Plan plan) {
  __shared__ int warp_sums[kMaxExperts / 32];
  __shared__ int of_length[kLongestSegment + 1];  // how many segments have so many groups
  __shared__ int placed[kLongestSegment + 1];
  begin();
  const int expert = threadIdx.x;
  for (int i = threadIdx.x; i < plan.counter_count; i += blockDim.x) plan.counters[i] = 0;
  if (threadIdx.x <= kLongestSegment) of_length[threadIdx.x] = placed[threadIdx.x] = 0;
  const int rows = expert < plan.local_experts ? scan_blocks(plan, expert) : 0;
  const int groups = static_cast<int>(ceil_div(rows, kGroupRows));
  // Segments of one expert are equally long, to a group, and stand side by side: its weights come
  // from memory once.
  const int parts = static_cast<int>(ceil_div(groups, plan.segment_groups));
  const int length = parts > 0 ? static_cast<int>(ceil_div(groups, parts)) : 0;
  __syncthreads();
  if (parts > 0) atomicAdd(&of_length[length], parts);
  const int first_group = exclusive_sum(groups, warp_sums);
  __syncthreads();
  if (expert < plan.local_experts) {
    plan.expert_row[expert] = first_group * static_cast<int>(kGroupRows);
    for (int row = rows; row < groups * static_cast<int>(kGroupRows); ++row) {
      plan.row_token[first_group * static_cast<int>(kGroupRows) + row] = -1;
    }
  }
  // Longest first. Among equals any order will do: it decides who computes, not what.
  if (parts > 0) {
    int place = atomicAdd(&placed[length], parts);
    for (int longer = length + 1; longer <= plan.segment_groups; ++longer) {
      place += of_length[longer];
    }
    for (int part = 0; part < parts; ++part) {
      const int begin = groups * part / parts;
      const int end = groups * (part + 1) / parts;
      plan.segments[place + part] = {
          expert, first_group + begin, first_group + begin, min(end * 8, rows) - begin * 8, place,
          parts};
    }
  }
  if (threadIdx.x == blockDim.x - 1) *plan.group_count = first_group + groups;
  if (threadIdx.x == 0) {
    int count = 0;
    for (int any = 1; any <= plan.segment_groups; ++any) count += of_length[any];
    *plan.segment_count = count;
  }
}

}  // namespace

void make_plan(const Plan& plan, cudaStream_t stream) {
  const std::int64_t threads = round_up(plan.local_experts, 32);
  launch("plan", plan_kernel, 1, static_cast<unsigned>(threads < 128 ? 128 : threads), 0, stream,
         plan);
}

}  // namespace sluice::cuda
