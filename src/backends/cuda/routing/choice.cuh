// The K best of a warp's keys.
#pragma once

#include "backends/cuda/device/launch.cuh"
#include "backends/cuda/device/ptx.cuh"
#include "backends/cuda/params.hpp"
#include "backends/cuda/routing/route_choice.hpp"

namespace sluice::cuda {

struct Chosen {
  std::int32_t expert;
  float logit;
};

struct alignas(16) ChoiceScratch {  // of a warp
  std::uint64_t order[kMostCandidates + kRankBatch];
  float logit[kMostCandidates];
  Chosen chosen[kMaxTopK];
};
static_assert(sizeof(ChoiceScratch) == kChoiceFloats * sizeof(float));

// One after the other, for any number. Keys are used up. What leads from one round to the next is
// short and has no branch: who was chosen is left in shared memory, and read when all are.
template <int kPerLane>
__device__ void choose_in_turn(int top_k, std::uint32_t (&key)[kPerLane],
                               const float (&logit)[kPerLane], Chosen* chosen) {
  const int lane = threadIdx.x % 32;
  __syncwarp();  // others may still read who was chosen for the warp's last token
#pragma unroll 1
  for (int slot = 0; slot < top_k; ++slot) {
    std::uint32_t best = key[0];
#pragma unroll
    for (int i = 1; i < kPerLane; ++i) best = max(best, key[i]);
    const std::uint32_t winner = __reduce_max_sync(kAllLanes, best);
    unsigned own = ~0u;  // this lane's lowest expert that has it
    float value = 0.0f;
#pragma unroll
    for (int i = kPerLane - 1; i >= 0; --i) {
      const bool wins = key[i] == winner;
      own = wins ? static_cast<unsigned>(i * 32 + lane) : own;
      value = wins ? logit[i] : value;
    }
    const unsigned expert = __reduce_min_sync(kAllLanes, own);
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      key[i] = static_cast<unsigned>(i * 32 + lane) == expert ? 0 : key[i];
    }
    if (own == expert) chosen[slot] = {static_cast<std::int32_t>(expert), value};
  }
}

// All at once, by how many are better, at most sixteen. Candidates are those that reach the least
// of the best of as many groups of lanes: as many as there are groups do. False if they are too
// many.
template <int kPerLane>
__device__ bool choose_at_once(int top_k, const std::uint32_t (&key)[kPerLane],
                               const float (&logit)[kPerLane], ChoiceScratch& scratch) {
  const int lane = threadIdx.x % 32;
  std::uint32_t best = key[0];
#pragma unroll
  for (int i = 1; i < kPerLane; ++i) best = max(best, key[i]);
  best = max(best, __shfl_xor_sync(kAllLanes, best, 1));
  if (top_k <= 8) best = max(best, __shfl_xor_sync(kAllLanes, best, 2));
  // Not 0: that marks lanes without an expert.
  const std::uint32_t least = max(__reduce_min_sync(kAllLanes, best), 1u);
  unsigned reaching[kPerLane];
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) reaching[i] = __ballot_sync(kAllLanes, key[i] >= least);
  const std::uint32_t orders = shared_address(scratch.order);
  const std::uint32_t logits = shared_address(scratch.logit);
  int count = 0;
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    // Too many go round: nobody reads them.
    const unsigned at = (count + __popc(reaching[i] & ((1u << lane) - 1))) % kMostCandidates;
    const bool reaches = key[i] >= least;
    store_shared_if(reaches, orders + at * 8,
                    std::uint64_t{key[i]} << 32 | ~static_cast<unsigned>(i * 32 + lane));
    store_shared_if(reaches, logits + at * 4, logit[i]);
    count += __popc(reaching[i]);
  }
  if (count > kMostCandidates) return false;
  store_shared_if(lane < kRankBatch, orders + (count + lane) * 8, std::uint64_t{0});
  __syncwarp();
  for (int own = lane; own < count; own += 32) {
    const std::uint64_t mine = scratch.order[own];
    int ranks[2] = {};
#pragma unroll 1
    for (int first = 0; first < count; first += kRankBatch) {
#pragma unroll
      for (int i = 0; i < kRankBatch; i += 2) {
        const ulonglong2 two = load_shared_pair(orders + (first + i) * 8);
        ranks[0] = count_greater(ranks[0], two.x, ~mine);
        ranks[1] = count_greater(ranks[1], two.y, ~mine);
      }
    }
    const int rank = ranks[0] + ranks[1];
    if (rank < top_k) {
      scratch.chosen[rank] = {static_cast<std::int32_t>(~static_cast<unsigned>(mine)),
                              scratch.logit[own]};
    }
  }
  return true;
}

// The `top_k` experts of the largest keys, ties to the lower one: lane k gets the k-th. Keys are
// used up.
template <int kPerLane>
__device__ Chosen choose(int top_k, std::uint32_t (&key)[kPerLane], const float (&logit)[kPerLane],
                         ChoiceScratch& scratch) {
  if (top_k > 16 || !choose_at_once(top_k, key, logit, scratch)) {
    choose_in_turn(top_k, key, logit, scratch.chosen);
  }
  __syncwarp();
  return scratch.chosen[threadIdx.x % 32];
}

}  // namespace sluice::cuda
