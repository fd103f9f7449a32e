// One token's routing by one warp: docs/semantics.md §1, as src/routing/router.cpp states it for
// the host. Lane l holds the logits of experts l, l + 32, …; after the choice, lane k holds slot k.
#pragma once

#include <cuda_runtime.h>

#include "backends/cuda/device/device_elements.cuh"
#include "backends/cuda/device/launch.cuh"
#include "backends/cuda/device/ptx.cuh"
#include "backends/cuda/params.hpp"
#include "backends/cuda/routing/route_choice.hpp"
#include "backends/cuda/routing/routing_weights.cuh"

namespace sluice::cuda {

struct RoutedSlot {
  std::int32_t id = -1;  // global expert
  float weight = 0.0f;
};

// Whether a softmax has a finite total: all that a choice among its scores needs of it.
__device__ inline float total_of(bool finite, bool any) {
  return finite && any ? 1.0f : minus_infinity();
}

// What the K best are chosen by. Without bias and groups that is the logit itself: every score
// function increases with it. `first`: the expert of this thread's first logit; 32 lie between two.
template <int kPerLane>
__device__ void choice_scores(const Routing& args, const float (&logit)[kPerLane],
                              const Softmax& softmax, int first, float (&score)[kPerLane]) {
  const RouterSpec& router = args.router;
  const bool biased = args.correction_bias != nullptr;
  const bool raw =
      router.score_order == ScoreOrder::after_topk || router.score_func == ScoreFunc::none;
  const bool is_softmax = !raw && router.score_func == ScoreFunc::softmax;
  if (is_softmax && !isfinite(softmax.total)) {
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) score[i] = minus_infinity();
  } else if (raw || (!biased && router.n_group == 1)) {
    // A logit of -inf has a finite score, which must beat the -inf that NaN counts as; not if the
    // logit is the score.
    const float lowest = raw ? minus_infinity() : lowest_float();
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) score[i] = logit[i] < lowest ? lowest : logit[i];
  } else if (is_softmax) {
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) score[i] = expf(logit[i] - softmax.maximum) / softmax.total;
  } else if (router.score_func == ScoreFunc::sigmoid) {
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) score[i] = sigmoid_of(logit[i]);
  } else {
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) score[i] = sqrt_softplus_of(logit[i]);
  }
  if (!biased) return;
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    const int expert = i * 32 + first;
    if (expert < router.num_experts) score[i] += args.correction_bias[expert];
  }
}

// -inf for every expert outside the best groups. `scratch`: E + n_group floats of this warp.
template <int kPerLane>
__device__ void mask_groups(const RouterSpec& router, float (&score)[kPerLane], float* scratch) {
  const int lane = threadIdx.x % 32;
  const int experts = static_cast<int>(router.num_experts);
  const int groups = static_cast<int>(router.n_group);
  const int size = experts / groups;
  float* group_score = scratch + experts;
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    const int expert = i * 32 + lane;
    if (expert < experts) scratch[expert] = isnan(score[i]) ? minus_infinity() : score[i];
  }
  __syncwarp();
  for (int g = lane; g < groups; g += 32) {
    float first = minus_infinity();
    float second = minus_infinity();
    for (int m = 0; m < size; ++m) {
      const float value = scratch[g * size + m];
      second = fmaxf(second, fminf(first, value));
      first = fmaxf(first, value);
    }
    group_score[g] = router.group_score == GroupScore::max || size == 1 ? first : first + second;
  }
  __syncwarp();
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    const int expert = i * 32 + lane;
    if (expert >= experts) continue;
    const int own = expert / size;
    const std::uint32_t key = choice_key(group_score[own]);
    int better = 0;
    for (int g = 0; g < groups; ++g) {
      const std::uint32_t other = choice_key(group_score[g]);
      better += other > key || (other == key && g < own);
    }
    if (better >= router.topk_group) score[i] = minus_infinity();
  }
  __syncwarp();
}

// Logits of a token, every 32nd from expert `first` on, -inf beyond the last: loads first, so that
// they are under way together.
template <int kPerLane>
__device__ void load_logits(const Routing& args, std::int64_t token, int first,
                            float (&logit)[kPerLane]) {
  const int experts = static_cast<int>(args.router.num_experts);
  const auto load = [&](DType dtype) {
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      const int expert = i * 32 + first;
      logit[i] = minus_infinity();
      if (expert < experts) logit[i] = load_element(args.logits, dtype, token * experts + expert);
    }
  };
  if (args.logits_dtype == DType::f32) {
    load(DType::f32);
  } else if (args.logits_dtype == DType::bf16) {
    load(DType::bf16);
  } else {
    load(DType::f16);
  }
  if (args.router_bias != nullptr) {
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      if (i * 32 + first < experts) logit[i] += args.router_bias[i * 32 + first];
    }
  }
  if (args.router.router_logits_dtype == LogitsDType::bf16) {
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) logit[i] = __bfloat162float(__float2bfloat16_rn(logit[i]));
  }
}

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

// Over a warp's logits.
template <int kPerLane>
__device__ Softmax softmax_of(const Routing& args, const float (&logit)[kPerLane]) {
  const int lane = threadIdx.x % 32;
  float maximum = minus_infinity();
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) maximum = fmaxf(maximum, logit[i]);
  Softmax softmax;
  softmax.maximum = warp_max(maximum);
  float total = 0.0f;
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    if (i * 32 + lane < args.router.num_experts) total += expf(logit[i] - softmax.maximum);
  }
  softmax.total = warp_sum(total);
  return softmax;
}

// The K best experts of a token, lane k the k-th. `softmax` is set where the score function is one,
// before the choice: for weights too, or, if nobody asks for these, as far as the choice needs it.
// `scratch`: group_scratch() floats of this warp, aligned to 16 bytes.
template <int kPerLane, bool kForWeights>
__device__ Chosen choose_experts(const Routing& args, int token, float* scratch, Softmax& softmax) {
  const RouterSpec& router = args.router;
  const int lane = threadIdx.x % 32;
  const int experts = static_cast<int>(router.num_experts);
  float logit[kPerLane];
  load_logits(args, token, lane, logit);

  if (router.score_func == ScoreFunc::softmax && router.score_order == ScoreOrder::before_topk) {
    if (kForWeights || args.correction_bias != nullptr || router.n_group > 1) {
      softmax = softmax_of(args, logit);
    } else {
      bool finite = true;
      bool any = false;
#pragma unroll
      for (int i = 0; i < kPerLane; ++i) {
        if (i * 32 + lane >= experts) continue;
        finite = finite && logit[i] < -minus_infinity();
        any = any || logit[i] > minus_infinity();
      }
      softmax.total = total_of(__all_sync(kAllLanes, finite), __any_sync(kAllLanes, any));
    }
  }

  float score[kPerLane];
  choice_scores(args, logit, softmax, lane, score);
  if (router.n_group > 1) mask_groups(router, score, scratch + kChoiceFloats);

  std::uint32_t key[kPerLane];
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) key[i] = i * 32 + lane < experts ? choice_key(score[i]) : 0;
  return choose(static_cast<int>(router.top_k), key, logit,
                *reinterpret_cast<ChoiceScratch*>(scratch));
}

// Given routing: ids out of range or named before, and weights that are not finite, are skipped.
__device__ inline RoutedSlot given_slot(const Routing& args, int token) {
  const int lane = threadIdx.x % 32;
  long long id = -1;
  float weight = 0.0f;
  if (lane < args.router.top_k) {
    const std::int64_t at = token * args.router.top_k + lane;
    id = args.given_ids_dtype == DType::i64 ? static_cast<const long long*>(args.given_ids)[at]
                                            : static_cast<const std::int32_t*>(args.given_ids)[at];
    weight = load_element(args.given_weights, args.given_weights_dtype, at);
  }
  const bool usable = id >= 0 && id < args.router.num_experts && isfinite(weight);
  const int name = usable ? static_cast<int>(id) : -1 - lane;
  const bool first = __ffs(__match_any_sync(kAllLanes, name)) - 1 == lane;
  if (!usable || !first) return {};
  return {static_cast<std::int32_t>(id), weight};
}

// Lane k gets slot k: its global expert or -1, and its weight.
template <int kPerLane>
__device__ RoutedSlot route_token(const Routing& args, int token, float* scratch) {
  if (args.logits == nullptr) return given_slot(args, token);
  Softmax softmax;
  const Chosen chosen = choose_experts<kPerLane, true>(args, token, scratch, softmax);
  const bool active = threadIdx.x % 32 < args.router.top_k;
  const float weight =
      weigh(args, active ? chosen.expert : 0, active ? chosen.logit : 0.0f, softmax);
  return {active ? chosen.expert : -1, weight};
}

// The same without weights.
template <int kPerLane>
__device__ RoutedSlot choose_token(const Routing& args, int token, float* scratch) {
  if (args.logits == nullptr) return given_slot(args, token);
  Softmax softmax;
  const Chosen chosen = choose_experts<kPerLane, false>(args, token, scratch, softmax);
  return {threadIdx.x % 32 < args.router.top_k ? chosen.expert : -1, 0.0f};
}

// -1: no expert, or another rank's.
__device__ inline std::int32_t local_expert(const Routing& args, const RoutedSlot& slot) {
  return slot.id < 0 || args.local_expert == nullptr ? slot.id : args.local_expert[slot.id];
}

// Writes a token's slots where the plan and the caller want them; returns the local expert.
__device__ inline std::int32_t store_slot(const Routing& args, const Plan& plan, int token,
                                          const RoutedSlot& slot) {
  const int lane = threadIdx.x % 32;
  if (lane >= plan.top_k) return -1;
  const int at = token * plan.top_k + lane;
  const std::int32_t local = local_expert(args, slot);
  plan.slot_local[at] = local;
  plan.slot_weight[at] = slot.weight;
  if (args.ids_out != nullptr) args.ids_out[at] = slot.id;
  if (args.weights_out != nullptr) args.weights_out[at] = slot.weight;
  return local;
}

// A token that is not there has no slots; the caller's ids and weights stay as they are.
__device__ inline void store_absent(const Plan& plan, int token) {
  const int lane = threadIdx.x % 32;
  if (lane < plan.top_k) plan.slot_local[token * plan.top_k + lane] = -1;
}

}  // namespace sluice::cuda
