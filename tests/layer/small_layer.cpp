#include "layer/small_layer.hpp"

#include <numeric>

#include "base/element.hpp"

namespace sluice::test {
namespace {

constexpr std::int64_t kExperts = 6;
constexpr std::int64_t kTopK = 3;
constexpr std::int64_t kHidden = 8;
constexpr std::int64_t kWidth = 16;
constexpr std::int64_t kShared = 32;

}  // namespace

std::vector<float> integers(std::size_t count, std::uint32_t seed, int magnitude) {
  std::vector<float> values;
  std::uint32_t state = seed * 2654435761u + 1;
  for (std::size_t i = 0; i < count; ++i) {
    state = state * 1664525u + 1013904223u;
    values.push_back(
        static_cast<float>(static_cast<int>((state >> 16) % (2u * magnitude + 1)) - magnitude));
  }
  return values;
}

SmallLayer::SmallLayer()
    : router_weight(integers(kExperts * kHidden, 1, 3)),
      correction_bias{0.25f, -0.5f, 1.0f, 0.125f, -0.75f, 0.5f},
      gate_up(integers(kExperts * kWidth * kHidden, 2, 2)),
      down(integers(kExperts * kHidden * kWidth, 3, 2)),
      shared_gate_up(integers(kShared * kHidden, 4, 2)),
      shared_down(integers(kHidden * kShared, 5, 2)) {
  spec.router.num_experts = kExperts;
  spec.router.top_k = kTopK;
  spec.router.score_func = ScoreFunc::none;
  spec.router.e_score_correction_bias = true;
  spec.router.routed_scaling_factor = 2.5;
  spec.experts.hidden_size = kHidden;
  spec.experts.intermediate_size = kWidth;
  spec.experts.activation = Activation::relu2;
  spec.experts.weight_format = WeightFormat::f32;
  spec.experts.activation_format = ActivationFormat::f32;
  spec.layer.num_shared_experts = 1;
  spec.layer.shared_intermediate_size = kShared;
}

MoeWeights SmallLayer::weights(const std::vector<std::int64_t>& experts) const {
  const std::int64_t width = std::ssize(gate_up) / (kExperts * kHidden);
  const std::int64_t shared = std::ssize(shared_gate_up) / kHidden;
  MoeWeights weights;
  weights.router_weight = view(router_weight, DType::f32, {kExperts, kHidden});
  weights.e_score_correction_bias = view(correction_bias, DType::f32, {kExperts});
  const auto all_gate_up = split_experts(view(gate_up, DType::f32, {kExperts, width, kHidden}));
  const auto all_down = split_experts(view(down, DType::f32, {kExperts, kHidden, width}));
  for (std::int64_t expert : experts) {
    weights.gate_up_proj.push_back(all_gate_up[static_cast<std::size_t>(expert)]);
    weights.down_proj.push_back(all_down[static_cast<std::size_t>(expert)]);
  }
  weights.shared_gate_up_proj = view(shared_gate_up, DType::f32, {shared, kHidden});
  weights.shared_down_proj = view(shared_down, DType::f32, {kHidden, shared});
  return weights;
}

SmallLayer SmallLayer::slice(std::int64_t rank, std::int64_t size) const {
  // Matrices [outer, whole, inner] -> [outer, whole / size, inner].
  const auto cut = [&](const std::vector<float>& all, std::int64_t whole, std::int64_t inner) {
    const std::int64_t part = whole / size;
    std::vector<float> slice;
    for (std::int64_t row = 0; row < std::ssize(all) / inner; ++row) {
      const std::int64_t in_whole = row % whole;
      if (in_whole / part != rank) continue;
      slice.insert(slice.end(), all.begin() + row * inner, all.begin() + (row + 1) * inner);
    }
    return slice;
  };
  SmallLayer sliced = *this;
  sliced.spec.layer.tp_rank = rank;
  sliced.spec.layer.tp_size = size;
  sliced.gate_up = cut(gate_up, kWidth, kHidden);
  sliced.down = cut(down, kWidth, 1);
  sliced.shared_gate_up = cut(shared_gate_up, kShared, kHidden);
  sliced.shared_down = cut(shared_down, kShared, 1);
  return sliced;
}

MoeWeights SmallLayer::weights() const {
  std::vector<std::int64_t> experts(kExperts);
  std::iota(experts.begin(), experts.end(), std::int64_t{0});
  return weights(experts);
}

Tokens::Tokens(std::int64_t tokens, DType dtype)
    : count(tokens),
      hidden(integers(static_cast<std::size_t>(tokens * kHidden), 6, 2)),
      logits(integers(static_cast<std::size_t>(tokens * kExperts), 7, 4)),
      output_dtype(dtype),
      output(static_cast<std::size_t>(tokens * kHidden * bits(dtype) / 8)),
      ids(static_cast<std::size_t>(tokens * kTopK)),
      weights(static_cast<std::size_t>(tokens * kTopK)) {}

ForwardInput Tokens::from_hidden() const {
  return {view(hidden, DType::f32, {count, kHidden}), {}, {}, {}};
}

ForwardInput Tokens::from_logits() const {
  ForwardInput input = from_hidden();
  input.router_logits = view(logits, DType::f32, {count, kExperts});
  return input;
}

ForwardOutput Tokens::views() {
  return {{output.data(), output_dtype, {count, kHidden}, {}},
          {ids.data(), DType::i32, {count, kTopK}, {}},
          {weights.data(), DType::f32, {count, kTopK}, {}}};
}

float Tokens::output_at(std::int64_t index) const {
  return load_float(output.data(), output_dtype, index);
}

}  // namespace sluice::test
