#include "backends/reference/expert.hpp"

#include <array>

#include "backends/reference/activation.hpp"

namespace sluice::reference {

std::size_t ExpertWeights::bytes() const {
  return sizeof(float) * (gate.size() + up.size() + down.size() + gate_bias.size() +
                          up_bias.size() + down_bias.size());
}

double dot(std::span<const float> weights, std::span<const double> x) {
  constexpr std::size_t kLanes = 8;
  std::array<double, kLanes> sums{};
  std::size_t i = 0;
  for (; i + kLanes <= weights.size(); i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      sums[lane] += static_cast<double>(weights[i + lane]) * x[i + lane];
    }
  }
  double sum = 0.0;
  for (; i < weights.size(); ++i) sum += static_cast<double>(weights[i]) * x[i];
  for (double lane : sums) sum += lane;
  return sum;
}

void run_expert(const ExpertSpec& experts, const ExpertWeights& weights, std::span<const double> x,
                std::span<double> hidden, std::span<double> result) {
  const auto row = [](const std::vector<float>& matrix, std::size_t index, std::size_t columns) {
    return std::span(matrix).subspan(index * columns, columns);
  };
  for (std::size_t i = 0; i < hidden.size(); ++i) {
    double gate = dot(row(weights.gate, i, x.size()), x);
    double up = weights.up.empty() ? 0.0 : dot(row(weights.up, i, x.size()), x);
    if (!weights.gate_bias.empty()) gate += weights.gate_bias[i];
    if (!weights.up_bias.empty()) up += weights.up_bias[i];
    hidden[i] = round_activation(experts.activation_format, activate(experts, gate, up));
  }
  for (std::size_t i = 0; i < result.size(); ++i) {
    result[i] = dot(row(weights.down, i, hidden.size()), hidden);
  }
}

}  // namespace sluice::reference
