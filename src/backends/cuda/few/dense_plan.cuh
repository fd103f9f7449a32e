// Which experts are hit, and by which slots: all that a CTA needs where every expert computes all
// tokens.
#pragma once

#include "backends/cuda/few/few_choice.cuh"
#include "backends/cuda/ffn/ffn_schedule.cuh"

namespace sluice::cuda {

struct DensePlan {
  static constexpr int kWords = kFewExperts / 32;
  // By which of its slots a token chose a local expert; -1: it did not.
  alignas(16) std::int8_t slot[kFewExperts][kDenseTokens];
  std::uint32_t hit[kWords];           // a bit per local expert
  std::uint16_t experts[kFewExperts];  // those hit, ascending
  int count;

  // The three steps are for all threads of a CTA, with a barrier after each.
  __device__ void clear(int local_experts) {
    static_assert(sizeof(slot[0]) == sizeof(uint4));
    for (int expert = threadIdx.x; expert < local_experts; expert += blockDim.x) {
      *reinterpret_cast<uint4*>(slot[expert]) = {~0u, ~0u, ~0u, ~0u};
    }
    if (threadIdx.x < kWords) hit[threadIdx.x] = 0;
    if (threadIdx.x == 0) count = 0;  // list() has nothing to go through without local experts
  }
  template <int kPerLane>
  __device__ void mark(const Routing& routing, int live, float* scratch) {
    choose_few<kPerLane>(routing, live, scratch, [this](int token, int of, std::int32_t local) {
      atomicOr(&hit[local / 32], 1u << local % 32);
      slot[local][token] = static_cast<std::int8_t>(of);
    });
  }
  __device__ void list(int local_experts) {
    const int words = (local_experts + 31) / 32;
    for (int expert = threadIdx.x; expert < words * 32; expert += blockDim.x) {
      int rank = 0;
      for (int word = 0; word < expert / 32; ++word) rank += __popc(hit[word]);
      const std::uint32_t own = hit[expert / 32];
      rank += __popc(own & ((1u << expert % 32) - 1));
      if (own >> expert % 32 & 1) experts[rank] = static_cast<std::uint16_t>(expert);
      if (expert == words * 32 - 1) count = rank + static_cast<int>(own >> 31);
    }
  }
};

// As the FFN's schedule asks for them.
struct DenseSegments {
  static constexpr bool kSlotRows = true;
  const DensePlan& plan;
  int live;    // tokens
  int groups;  // of h, for each expert
  int top_k;

  __device__ DenseSegments(const DensePlan& of, const Plan& sizes)
      : plan(of), live(sizes.live_tokens()), groups((sizes.tokens + 7) / 8), top_k(sizes.top_k) {}
  __device__ int count() const { return plan.count; }
  __device__ Segment at(int index) const {
    return {plan.experts[index], 0, index * groups, live, index, 1};
  }
  // Of the routed experts' outputs; -1: the expert's output of this token is no slot's.
  __device__ int slot_row(int expert, int token) const {
    const int slot = plan.slot[expert][token];
    return slot < 0 ? -1 : token * top_k + slot;
  }
};

}  // namespace sluice::cuda
