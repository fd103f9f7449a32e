// Random tensors for a spec: everything the spec asks for, nothing symmetric, nothing neutral.
#pragma once

#include <cstdint>
#include <deque>
#include <random>
#include <vector>

#include <sluice/backend.hpp>

#include "base/element.hpp"

namespace sluice::test {

class DrawnLayer {
 public:
  DrawnLayer(const MoeSpec& spec, std::uint32_t seed) : generator_(seed) {
    const std::int64_t experts = local_expert_count(spec);
    const std::int64_t hidden = spec.experts.hidden_size;
    const std::int64_t width = local_width(spec);
    const std::int64_t halves = is_gated(spec.experts.activation) ? 2 : 1;
    const DType dtype = weight_dtype(spec.experts.weight_format);
    if (spec.router.router_bias) {
      weights.router_bias = draw({spec.router.num_experts}, DType::f32, 0.3f, 0.5f);
    }
    if (spec.router.e_score_correction_bias) {
      // The last expert is hot: scores seldom differ by more than 2.
      weights.e_score_correction_bias = draw({spec.router.num_experts}, DType::f32, 0.2f, 0.4f);
      store_float(storage_.back().data(), DType::f32, spec.router.num_experts - 1, 2.5f);
    }
    for (std::int64_t e = 0; e < experts; ++e) {
      weights.gate_up_proj.push_back(draw({halves * width, hidden}, dtype, 0.4f, 0.02f));
      weights.down_proj.push_back(draw({hidden, width}, dtype, 0.4f, -0.03f));
    }
    if (spec.experts.gate_up_bias) {
      weights.gate_up_bias = draw({experts, halves * width}, DType::bf16, 0.5f, 0.1f);
    }
    if (spec.experts.down_bias) {
      weights.down_bias = draw({experts, hidden}, DType::f32, 0.5f, 0.1f);
    }
    if (spec.layer.num_shared_experts == 0) return;
    const std::int64_t shared = local_shared_width(spec);
    weights.shared_gate_up_proj = draw({halves * shared, hidden}, dtype, 0.4f, 0.05f);
    weights.shared_down_proj = draw({hidden, shared}, dtype, 0.4f, 0.05f);
    if (spec.layer.shared_expert_gate) {
      weights.shared_expert_gate = draw({1, hidden}, dtype, 0.3f, 0.0f);
    }
  }

  TensorView draw(const Shape& shape, DType dtype, float spread, float mean) {
    std::normal_distribution<float> normal(mean, spread);
    auto& bytes =
        storage_.emplace_back(static_cast<std::size_t>(shape.elements() * bits(dtype) / 8));
    for (std::int64_t i = 0; i < shape.elements(); ++i) {
      store_float(bytes.data(), dtype, i, normal(generator_));
    }
    return {bytes.data(), dtype, shape, {}};
  }

  static DType weight_dtype(WeightFormat format) {
    if (format == WeightFormat::f32) return DType::f32;
    return format == WeightFormat::f16 ? DType::f16 : DType::bf16;
  }

  MoeWeights weights;

 private:
  std::mt19937 generator_;
  std::deque<std::vector<std::byte>> storage_;
};

}  // namespace sluice::test
