#include "bench_weights.hpp"

#include <algorithm>
#include <random>

#include "base/float_types.hpp"

namespace sluice::bench {
namespace {

std::vector<float> widened(std::span<const std::uint16_t> all) {
  std::vector<float> floats(all.size());
  std::transform(all.begin(), all.end(), floats.begin(), bf16_to_float);
  return floats;
}

}  // namespace

std::vector<std::uint16_t> random_bf16_values(std::int64_t count, float spread,
                                              std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0f, spread);
  std::vector<std::uint16_t> values(static_cast<std::size_t>(count));
  for (auto& value : values) value = float_to_bf16(normal(generator));
  return values;
}

BenchWeights::BenchWeights(const Shape& shape)
    : shape_(shape),
      gate_up_(random_bf16_values(2 * shape.intermediate * shape.hidden + kStep * shape.experts,
                                  0.02f, 2)),
      down_(random_bf16_values(shape.hidden * shape.intermediate + kStep * shape.experts, 0.02f,
                               3)) {}

std::span<const std::uint16_t> BenchWeights::gate_up(std::int64_t expert) const {
  return std::span(gate_up_).subspan(
      static_cast<std::size_t>(kStep * expert),
      static_cast<std::size_t>(2 * shape_.intermediate * shape_.hidden));
}

std::span<const std::uint16_t> BenchWeights::down(std::int64_t expert) const {
  return std::span(down_).subspan(static_cast<std::size_t>(kStep * expert),
                                  static_cast<std::size_t>(shape_.hidden * shape_.intermediate));
}

MoeWeights BenchWeights::views() const {
  MoeWeights weights;
  for (std::int64_t e = 0; e < shape_.experts; ++e) {
    weights.gate_up_proj.push_back(
        {gate_up(e).data(), DType::bf16, {2 * shape_.intermediate, shape_.hidden}, {}});
    weights.down_proj.push_back(
        {down(e).data(), DType::bf16, {shape_.hidden, shape_.intermediate}, {}});
  }
  return weights;
}

LayerValues BenchWeights::values(std::span<const std::uint16_t> hidden) const {
  const auto half = static_cast<std::size_t>(shape_.intermediate * shape_.hidden);
  const auto width = static_cast<std::size_t>(shape_.hidden);
  return {[=, this](std::int64_t e) { return widened(gate_up(e).first(half)); },
          [=, this](std::int64_t e) { return widened(gate_up(e).last(half)); },
          [this](std::int64_t e) { return widened(down(e)); },
          [=](std::int64_t t) {
            return widened(hidden.subspan(static_cast<std::size_t>(t) * width, width));
          }};
}

}  // namespace sluice::bench
