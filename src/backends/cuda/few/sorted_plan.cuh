// Where the rows of each expert begin, found out from who chose it: the same in every block of
// threads that does, whether it stages those rows or multiplies them.
#pragma once

#include "backends/cuda/few/few_choice.cuh"
#include "backends/cuda/ffn/ffn_schedule.cuh"
#include "backends/cuda/routing/placement.cuh"

namespace sluice::cuda {

struct SortedPlan {
  static constexpr int kWords = kFewTokens / 32;
  static constexpr int kOwn = 2;              // experts of a thread
  std::uint32_t chosen[kWords][kFewExperts];  // bit t of word w: by token 32 w + t
  std::uint16_t first_group[kFewExperts];
  std::uint16_t experts[kFewExperts];  // those hit, ascending
  int warp_sums[32];
  int count;

  // The three steps are for all threads of a block, at least kFewExperts / kOwn, with a barrier
  // after each.
  __device__ void clear() {
    for (int i = threadIdx.x; i < kWords * kFewExperts; i += blockDim.x) chosen[0][i] = 0;
  }
  __device__ void mark(int token, std::int32_t local) {
    atomicOr(&chosen[token / 32][local], 1u << token % 32);
  }
  __device__ void list() {
    int rows[kOwn] = {};
    int sum = 0;  // groups, and in the upper half experts that are hit
    if (threadIdx.x < kFewExperts / kOwn) {
#pragma unroll
      for (int i = 0; i < kOwn; ++i) {
        rows[i] = rows_of(threadIdx.x * kOwn + i);
        sum += packed(rows[i]);
      }
    }
    int before = exclusive_sum(sum, warp_sums);
    if (threadIdx.x >= kFewExperts / kOwn) return;
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      const int expert = threadIdx.x * kOwn + i;
      first_group[expert] = static_cast<std::uint16_t>(before & 0xffff);
      if (rows[i] > 0) experts[before >> 16] = static_cast<std::uint16_t>(expert);
      before += packed(rows[i]);
    }
    if (threadIdx.x == kFewExperts / kOwn - 1) count = before >> 16;
  }

  __device__ int rows_of(int expert) const {
    int rows = 0;
#pragma unroll
    for (int word = 0; word < kWords; ++word) rows += __popc(chosen[word][expert]);
    return rows;
  }
  // Of a token that chose the expert. It names an expert once: the earlier tokens that do stand
  // before it.
  __device__ int row(int token, int expert) const {
    int row = first_group[expert] * static_cast<int>(kGroupRows);
#pragma unroll
    for (int word = 0; word < kWords; ++word) {
      const int bits = min(max(token - word * 32, 0), 32);
      const std::uint32_t earlier = bits == 32 ? ~0u : (1u << bits) - 1;
      row += __popc(chosen[word][expert] & earlier);
    }
    return row;
  }

 private:
  __device__ static int packed(int rows) {
    return (rows + static_cast<int>(kGroupRows) - 1) / static_cast<int>(kGroupRows) +
           (rows > 0 ? 1 << 16 : 0);
  }
};

// As the FFN's schedule asks for them: no segment is longer than a tile of few tokens takes.
struct SortedSegments {
  static constexpr bool kSlotRows = false;
  const SortedPlan& plan;

  __device__ int count() const { return plan.count; }
  __device__ Segment at(int index) const {
    const int expert = plan.experts[index];
    return {expert, plan.first_group[expert], plan.first_group[expert], plan.rows_of(expert), index,
            1};
  }
};

}  // namespace sluice::cuda
