// The activations, fp32.
#pragma once

#include "backends/cuda/params.hpp"

namespace sluice::cuda {

// x * sigmoid(z): exp of a negative number only, so that nothing overflows and small results keep
// their bits. ex2 and rcp are within 2 units of fp32's last place, exact at 1.
__device__ inline float times_sigmoid(float x, float z) {
  const float e = exp2f(-fabsf(z) * 1.4426950408889634f);
  return x * __fdividef(z < 0.0f ? e : 1.0f, 1.0f + e);
}

__device__ inline float gelu(float x) { return 0.5f * x * erfcf(x * -0.70710678118654752f); }

__device__ inline float gelu_tanh(float x) {
  const float inner = 0.79788456080286536f * (x + 0.044715f * x * x * x);
  return 0.5f * x * (1.0f + tanhf(inner));
}

__device__ inline float activate(const ActivationParams& how, float gate, float up) {
  switch (how.kind) {
    case Activation::swiglu:
      if (how.limited) {
        // Comparisons, not fminf: NaN must pass through.
        if (gate > how.limit) gate = how.limit;
        if (up > how.limit) up = how.limit;
        if (up < -how.limit) up = -how.limit;
      }
      return times_sigmoid(gate, how.alpha * gate) * (up + how.beta);
    case Activation::geglu:
      return gelu(gate) * up;
    case Activation::geglu_tanh:
      return gelu_tanh(gate) * up;
    case Activation::relu2:
      return gate > 0.0f ? gate * gate : gate * 0.0f;
    case Activation::silu:
      return times_sigmoid(gate, gate);
    case Activation::gelu:
      return gelu(gate);
    default:
      return gate;
  }
}

}  // namespace sluice::cuda
