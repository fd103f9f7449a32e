// One token's routing by one warp: docs/semantics.md §1, as src/routing/router.cpp states it for
// the host. Lane l holds the logits of experts l, l + 32, …; after the choice, lane k holds slot k.
#pragma once

#include "backends/cuda/routing/choice.cuh"
#include "backends/cuda/routing/scores.cuh"

namespace sluice::cuda {

struct RoutedSlot {
  std::int32_t id = -1;  // global expert
  float weight = 0.0f;
};

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
