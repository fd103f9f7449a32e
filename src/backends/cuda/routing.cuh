// One token's routing by one warp: docs/semantics.md §1, as src/routing/router.cpp states it for
// the host. Lane l holds the logits of experts l, l + 32, …; after the choice, lane k holds slot k.
#pragma once

#include <cuda_runtime.h>

#include "backends/cuda/device_elements.cuh"
#include "backends/cuda/launch.cuh"
#include "backends/cuda/params.hpp"
#include "backends/cuda/routing_weights.cuh"

namespace sluice::cuda {

struct RoutedSlot {
  std::int32_t id = -1;  // global expert
  float weight = 0.0f;
};

// Larger is better; NaN counts as -inf, -0 as +0. Never 0, which marks what is taken or absent.
__device__ inline std::uint32_t choice_key(float score) {
  if (isnan(score)) score = minus_infinity();
  const std::uint32_t bits = __float_as_uint(score + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// What the K best are chosen by. Without bias and groups that is the logit itself: every score
// function increases with it.
template <int kPerLane>
__device__ void choice_scores(const Routing& args, const float (&logit)[kPerLane],
                              const Softmax& softmax, float (&score)[kPerLane]) {
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
    const int expert = i * 32 + static_cast<int>(threadIdx.x % 32);
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

template <int kPerLane>
__device__ RoutedSlot route_logits(const Routing& args, int token, float* scratch) {
  const RouterSpec& router = args.router;
  const int lane = threadIdx.x % 32;
  const int experts = static_cast<int>(router.num_experts);
  float logit[kPerLane];
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    const int expert = i * 32 + lane;
    logit[i] = minus_infinity();
    if (expert < experts) {
      logit[i] = load_element(args.logits, args.logits_dtype,
                              static_cast<std::int64_t>(token) * experts + expert);
    }
  }
  if (args.router_bias != nullptr) {
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      if (i * 32 + lane < experts) logit[i] += args.router_bias[i * 32 + lane];
    }
  }
  if (router.router_logits_dtype == LogitsDType::bf16) {
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) logit[i] = __bfloat162float(__float2bfloat16_rn(logit[i]));
  }

  Softmax softmax;
  if (router.score_func == ScoreFunc::softmax && router.score_order == ScoreOrder::before_topk) {
    float maximum = minus_infinity();
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) maximum = fmaxf(maximum, logit[i]);
    softmax.maximum = warp_max(maximum);
    float total = 0.0f;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      if (i * 32 + lane < experts) total += expf(logit[i] - softmax.maximum);
    }
    softmax.total = warp_sum(total);
  }

  float score[kPerLane];
  choice_scores(args, logit, softmax, score);
  if (router.n_group > 1) mask_groups(router, score, scratch);

  std::uint32_t key[kPerLane];
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) key[i] = i * 32 + lane < experts ? choice_key(score[i]) : 0;
  int id = 0;
  float chosen_logit = 0.0f;
  const int top_k = static_cast<int>(router.top_k);
#pragma unroll 1
  for (int slot = 0; slot < top_k; ++slot) {
    std::uint32_t best = 0;
    int place = 0;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      if (key[i] > best) {
        best = key[i];
        place = i;
      }
    }
    const std::uint32_t winner = __reduce_max_sync(kAllLanes, best);
    const unsigned chosen =
        __reduce_min_sync(kAllLanes, best == winner ? place * 32u + lane : 0xffffffffu);
    float owned = 0.0f;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      if (i * 32 + lane == static_cast<int>(chosen)) {
        key[i] = 0;
        owned = logit[i];
      }
    }
    const float its_logit = __shfl_sync(kAllLanes, owned, chosen % 32);
    if (lane == slot) {
      id = static_cast<int>(chosen);
      chosen_logit = its_logit;
    }
  }
  const float weight = weigh(args, id, chosen_logit, softmax);
  return {lane < top_k ? id : -1, weight};
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

template <int kPerLane>
__device__ RoutedSlot route_token(const Routing& args, int token, float* scratch) {
  if (args.logits == nullptr) return given_slot(args, token);
  return route_logits<kPerLane>(args, token, scratch);
}

// Writes a token's slots where the plan and the caller want them; returns the local expert.
__device__ inline std::int32_t store_slot(const Routing& args, const Plan& plan, int token,
                                          const RoutedSlot& slot) {
  const int lane = threadIdx.x % 32;
  if (lane >= plan.top_k) return -1;
  const int at = token * plan.top_k + lane;
  const std::int32_t local =
      slot.id < 0 || args.local_expert == nullptr ? slot.id : args.local_expert[slot.id];
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
