// What a token's experts are chosen by: lane l holds the logits and scores of experts l, l + 32, …
#pragma once

#include "backends/cuda/device/device_elements.cuh"
#include "backends/cuda/device/launch.cuh"
#include "backends/cuda/params.hpp"
#include "backends/cuda/routing/routing_weights.cuh"

namespace sluice::cuda {

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

}  // namespace sluice::cuda
