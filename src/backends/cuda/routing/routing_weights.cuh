// The score functions on the device, and the weights of a token's chosen experts.
#pragma once

#include <cuda_runtime.h>

#include "backends/cuda/device/launch.cuh"
#include "backends/cuda/params.hpp"

namespace sluice::cuda {

// -inf and lowest() without <limits>: constants of the format.
__device__ inline float minus_infinity() { return __int_as_float(0xff800000); }
__device__ inline float lowest_float() { return -3.402823466e+38f; }

// Larger is better; NaN counts as -inf, -0 as +0. Never 0, which marks what is taken or absent.
__device__ inline std::uint32_t choice_key(float score) {
  if (isnan(score)) score = minus_infinity();
  const std::uint32_t bits = __float_as_uint(score + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ inline float key_score(std::uint32_t key) {
  return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

__device__ inline float sigmoid_of(float x) {
  const float e = expf(-fabsf(x));
  return (x < 0 ? e : 1.0f) / (1.0f + e);
}

// Out of line, since it is rare: these kernels run once per layer, after weights have streamed
// through every cache, so that they wait for their own instructions.
__device__ __noinline__ static float sqrt_softplus_of(float x) {
  return sqrtf(fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x))));
}

template <typename T>
__device__ T warp_sum(T value) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(kAllLanes, value, step);
  return value;
}

__device__ inline float warp_max(float value) {  // skips NaN
  return key_score(__reduce_max_sync(kAllLanes, choice_key(value)));
}

struct Softmax {
  float maximum = 0.0f;
  float total = 0.0f;
};

// The K weights, one per lane, computed in T. `lost`: normalising would bring back what T could
// not hold, or T could not hold their sum.
template <typename T>
__device__ __forceinline__ T weigh_in(const Routing& args, int id, float chosen_logit,
                                      const Softmax& softmax, bool& lost) {
  const RouterSpec& router = args.router;
  const bool active = static_cast<int>(threadIdx.x % 32) < router.top_k;
  const bool before = router.score_order == ScoreOrder::before_topk;
  const bool biased = router.weights_from_biased_scores && args.correction_bias != nullptr;
  const T bias = biased && active ? args.correction_bias[id] : 0.0f;
  const T logit = chosen_logit + (before ? T{0} : bias);
  T score = logit;
  if (router.score_func == ScoreFunc::softmax) {
    T maximum = softmax.maximum;
    T total = softmax.total;
    if (!before) {
      maximum = warp_max(active ? static_cast<float>(logit) : minus_infinity());
      total = warp_sum(active ? exp(logit - maximum) : T{0});
    }
    score = exp(logit - maximum) / total;
  } else if (router.score_func != ScoreFunc::none) {
    const T e = exp(-fabs(logit));
    score = router.score_func == ScoreFunc::sigmoid ? (logit < T{0} ? e : T{1}) / (T{1} + e)
                                                    : sqrt(fmax(logit, T{0}) + log1p(e));
  }
  lost = router.norm_topk_prob &&
         __any_sync(kAllLanes, active && fabs(score) < T{1e-30f} && isfinite(logit));
  if (before) score += bias;
  if (!active || !isfinite(score)) score = 0;
  if (router.norm_topk_prob && (router.top_k > 1 || router.norm_single_expert)) {
    const T sum = warp_sum(score);
    lost = lost || !isfinite(sum);
    const auto eps = static_cast<T>(router.norm_eps);
    score /= router.norm_rule == NormRule::add ? sum + eps : fmax(sum, eps);
    if (!isfinite(score)) score = 0;  // a zero sum without epsilon
  }
  if (!router.apply_routed_scale_to_output) {
    score *= static_cast<T>(router.routed_scaling_factor);
  }
  return score;
}

__device__ __noinline__ static float weigh_in_double(const Routing& args, int id,
                                                     float chosen_logit, Softmax softmax) {
  bool lost = false;
  return static_cast<float>(weigh_in<double>(args, id, chosen_logit, softmax, lost));
}

__device__ __forceinline__ float weigh(const Routing& args, int id, float chosen_logit,
                                       const Softmax& softmax) {
  bool lost = false;
  float weight = weigh_in<float>(args, id, chosen_logit, softmax, lost);
  if (lost) weight = weigh_in_double(args, id, chosen_logit, softmax);
  return weight;
}

}  // namespace sluice::cuda
