// Whose weights one token needs, as soon as can be: the choice of routing.cuh by a whole block.
#pragma once

#include "backends/cuda/routing/routing.cuh"

namespace sluice::cuda {

// Whether a thread can score its expert by itself.
__device__ inline bool scores_alone(const Routing& args, int threads) {
  const RouterSpec& router = args.router;
  const bool shares = router.score_func == ScoreFunc::softmax &&
                      router.score_order == ScoreOrder::before_topk &&
                      args.correction_bias != nullptr;
  return args.logits != nullptr && router.n_group == 1 && router.num_experts <= threads && !shares;
}

template <int kThreads>
struct RankScratch {
  static constexpr int kGroups = 8;
  std::uint32_t best[kGroups];  // of experts in groups
  int count;                    // of candidates:
  std::uint64_t order[kThreads];
};

// chosen[k] is the k-th best. Each candidate counts how many are better, instead of one being taken
// after the other. Candidates are those that reach the least of the best of eight groups of
// experts: as many as eight do. All threads call it, and may read `chosen` afterwards.
template <int kThreads>
__device__ void choose_by_rank(const Routing& args, float logit, RankScratch<kThreads>& scratch,
                               std::int32_t* chosen) {
  using Scratch = RankScratch<kThreads>;
  const RouterSpec& router = args.router;
  const int thread = threadIdx.x;
  const bool present = thread < router.num_experts;
  Softmax softmax;
  if (router.score_func == ScoreFunc::softmax && router.score_order == ScoreOrder::before_topk) {
    // What exp(logit - maximum) would add up to is finite unless …
    const bool finite = __syncthreads_and(!present || logit < -minus_infinity()) != 0;
    const bool any = __syncthreads_or(present && logit > minus_infinity()) != 0;
    softmax.total = total_of(finite, any);
  }
  float score[1];
  choice_scores<1>(args, {logit}, softmax, thread, score);
  const std::uint32_t key = present ? choice_key(score[0]) : 0;

  // A group is a warp, or half of one if all experts are in the first half of the threads.
  const int group = router.num_experts > kThreads / 2 ? 32 : 16;
  const unsigned members = group == 32 ? kAllLanes : 0xffffu << (thread & 16);
  const std::uint32_t best = __reduce_max_sync(members, key);
  if (thread % group == 0 && thread / group < Scratch::kGroups) scratch.best[thread / group] = best;
  if (thread == 0) scratch.count = 0;
  __syncthreads();
  std::uint32_t least = 0;
  if (router.top_k <= Scratch::kGroups) {
    least = scratch.best[0];
#pragma unroll
    for (int i = 1; i < Scratch::kGroups; ++i) least = min(least, scratch.best[i]);
  }
  if (present && key >= least) {
    const int at = atomicAdd(&scratch.count, 1);  // their order does not matter
    scratch.order[at] = std::uint64_t{key} << 32 | ~static_cast<std::uint32_t>(thread);
  }
  __syncthreads();
  const int count = scratch.count;
  if (thread < count) {
    const std::uint64_t mine = scratch.order[thread];
    int rank = 0;
#pragma unroll 8
    for (int i = 0; i < count; ++i) rank += scratch.order[i] > mine;
    if (rank < router.top_k)
      chosen[rank] = static_cast<std::int32_t>(~static_cast<std::uint32_t>(mine));
  }
  __syncthreads();
}

}  // namespace sluice::cuda
