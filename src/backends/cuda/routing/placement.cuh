// Where each expert's rows begin, and the segments that the GEMMs work through, from the number of
// rows of every expert: by one block of threads, a thread per expert.
#pragma once

#include <cuda_runtime.h>

#include "backends/cuda/device/launch.cuh"
#include "backends/cuda/params.hpp"

namespace sluice::cuda {

// Sum of `value` over the threads below this one. Every thread calls; `warp_sums` is not written
// again before the next barrier.
__device__ inline int exclusive_sum(int value, int* warp_sums) {
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

struct ExpertRows {
  int rows;
  int groups;
  int first_group;
};

// Each expert's rows begin a group. Thread e has expert e. Every thread calls.
__device__ inline ExpertRows place_expert(int rows, int* warp_sums) {
  const int groups = (rows + static_cast<int>(kGroupRows) - 1) / static_cast<int>(kGroupRows);
  return {rows, groups, exclusive_sum(groups, warp_sums)};
}

// Writes the segments and clears what the FFN counts up. Thread e has expert e; one block's work.
__device__ inline void write_segments(const Plan& plan, const ExpertRows& own) {
  constexpr int kLongest = 64;             // groups; more than any FfnTile has
  __shared__ int of_length[kLongest + 1];  // how many segments have so many groups
  __shared__ int placed[kLongest + 1];
  for (int i = threadIdx.x; i < plan.counter_count; i += blockDim.x) plan.counters[i] = 0;
  if (threadIdx.x <= kLongest) of_length[threadIdx.x] = placed[threadIdx.x] = 0;
  // Segments of one expert are equally long, to a group, and stand side by side: its weights come
  // from memory once.
  const int parts = (own.groups + plan.segment_groups - 1) / plan.segment_groups;
  const int length = parts > 0 ? (own.groups + parts - 1) / parts : 0;
  __syncthreads();
  if (parts > 0) atomicAdd(&of_length[length], parts);
  __syncthreads();
  // Longest first. Among equals any order will do: it decides who computes, not what.
  if (parts > 0) {
    int place = atomicAdd(&placed[length], parts);
    for (int longer = length + 1; longer <= plan.segment_groups; ++longer) {
      place += of_length[longer];
    }
    for (int part = 0; part < parts; ++part) {
      const int begin = own.groups * part / parts;
      const int end = own.groups * (part + 1) / parts;
      plan.segments[place + part] = {static_cast<std::int32_t>(threadIdx.x),
                                     own.first_group + begin,
                                     own.first_group + begin,
                                     min(end * 8, own.rows) - begin * 8,
                                     place,
                                     parts};
    }
  }
  if (threadIdx.x == 0) {
    int count = 0;
    for (int any = 1; any <= plan.segment_groups; ++any) count += of_length[any];
    *plan.segment_count = count;
  }
}

}  // namespace sluice::cuda
