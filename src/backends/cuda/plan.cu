// The second step of the counting sort, by one block of threads: where each expert's rows begin,
// and the segments that the GEMMs work through.
#include "backends/cuda/launch.cuh"
#include "backends/cuda/params.hpp"
#include "backends/cuda/routing.cuh"

namespace sluice::cuda {
namespace {

constexpr int kThreads = 1024;  // one per expert

// Turns an expert's counts per block of tokens into ranks; returns its total. One warp.
__device__ int scan_blocks(const Plan& plan, int expert) {
  const int lane = threadIdx.x % 32;
  std::int32_t* counts = plan.block_base + static_cast<std::int64_t>(expert) * plan.sort_blocks;
  int total = 0;
  for (int first = 0; first < plan.sort_blocks; first += 32) {
    const int block = first + lane;
    const int count = block < plan.sort_blocks ? counts[block] : 0;
    int inclusive = count;
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
      const int below = __shfl_up_sync(kAllLanes, inclusive, step);
      if (lane >= step) inclusive += below;
    }
    if (block < plan.sort_blocks) counts[block] = total + inclusive - count;
    total += __shfl_sync(kAllLanes, inclusive, 31);
  }
  return total;
}

// Sum of `value` over the threads below this one, and over all. Every thread calls.
__device__ int exclusive_sum(int value, int* warp_sums, int& total) {
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
  total = 0;
  for (int w = 0; w < kThreads / 32; ++w) {
    if (w < warp) before += warp_sums[w];
    total += warp_sums[w];
  }
  __syncthreads();
  return before + inclusive - value;
}

__global__ void __launch_bounds__(kThreads) plan_kernel(Plan plan) {
  __shared__ int counts[kThreads];
  __shared__ int rests[kThreads];
  __shared__ int warp_sums[kThreads / 32];
  begin();
  const int expert = threadIdx.x;
  const int lane = threadIdx.x % 32;
  counts[expert] = 0;
  __syncthreads();
  for (int e = threadIdx.x / 32; e < plan.local_experts; e += kThreads / 32) {
    const int total = scan_blocks(plan, e);
    if (lane == 0) counts[e] = total;
  }
  for (int i = threadIdx.x; i < plan.ready_count; i += kThreads) plan.ready[i] = 0;
  if (threadIdx.x == 0) *plan.next_tile = 0;
  __syncthreads();

  const int groups = static_cast<int>(ceil_div(counts[expert], kGroupRows));
  const int whole = groups / plan.segment_groups;
  const int rest = groups % plan.segment_groups;
  rests[expert] = rest;
  int all_groups, all_whole, all_rests;
  const int first_group = exclusive_sum(groups, warp_sums, all_groups);
  const int first_whole = exclusive_sum(whole, warp_sums, all_whole);
  exclusive_sum(rest > 0 ? 1 : 0, warp_sums, all_rests);
  if (expert < plan.local_experts) {
    plan.expert_row[expert] = first_group * static_cast<int>(kGroupRows);
    for (int i = 0; i < whole; ++i) {
      const int group = first_group + i * plan.segment_groups;
      plan.segments[first_whole + i] = {expert, group, group, plan.segment_groups};
    }
    if (rest > 0) {
      int place = all_whole;
      for (int e = 0; e < plan.local_experts; ++e) {
        place += rests[e] > rest || (rests[e] == rest && e < expert);
      }
      const int group = first_group + whole * plan.segment_groups;
      plan.segments[place] = {expert, group, group, rest};
    }
  }
  if (threadIdx.x == 0) *plan.segment_count = all_whole + all_rests;
}

}  // namespace

void make_plan(const Plan& plan, cudaStream_t stream) {
  launch("plan", plan_kernel, 1, kThreads, 0, stream, plan);
}

}  // namespace sluice::cuda
