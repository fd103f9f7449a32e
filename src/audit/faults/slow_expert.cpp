#include "audit/faults/slow_expert.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "audit/faults/reroute.hpp"
#include "audit/faults/split_run.hpp"
#include "audit/unpacked.hpp"
#include "base/float_types.hpp"

namespace sluice::auditing {
namespace {

double rounded(ActivationFormat format, double value) {
  const auto single = static_cast<float>(value);
  if (format == ActivationFormat::bf16) return round_to_bf16(single);
  if (format == ActivationFormat::f16) return round_to_f16(single);
  return single;
}

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

struct Model {
  MoeSpec spec;
  Unpacked tensors;
  ActivationModel activation;

  // out += weight * expert(x)
  void add(const UnpackedExpert& expert, const std::vector<double>& x, double weight,
           std::span<double> out) const {
    const std::size_t width = x.size();
    const std::size_t inner = expert.down.size() / width;
    const auto dot = [&](const std::vector<float>& rows, std::size_t row, const auto& vector) {
      double sum = 0.0;
      for (std::size_t i = 0; i < vector.size(); ++i)
        sum += rows[row * vector.size() + i] * vector[i];
      return sum;
    };
    std::vector<double> h(inner);
    for (std::size_t i = 0; i < inner; ++i) {
      double gate = dot(expert.gate, i, x);
      double up = expert.up.empty() ? 0.0 : dot(expert.up, i, x);
      if (!expert.gate_bias.empty()) gate += expert.gate_bias[i];
      if (!expert.up_bias.empty()) up += expert.up_bias[i];
      h[i] = rounded(spec.experts.activation_format, activation(spec.experts, gate, up));
    }
    const bool on_input = spec.router.apply_router_weight_on_input;
    for (std::size_t r = 0; r < width; ++r) {
      const double bias = expert.down_bias.empty() ? 0.0 : expert.down_bias[r];
      out[r] += (on_input ? 1.0 : weight) * dot(expert.down, r, h) + weight * bias;
    }
  }

  void forward(Call& call) const {
    if (call.tokens() == 0) return call.forward();
    const Parts parts = run_parts(call);
    const RoutedTokens routed = route_call(call, tensors.router_bias, tensors.correction_bias, {});
    const std::vector<float> hidden = to_floats(call.input.hidden_states);
    const auto width = static_cast<std::size_t>(spec.experts.hidden_size);
    const std::int64_t top_k = spec.router.top_k;
    std::vector<float> out = parts.shared;
    for (std::int64_t token = 0; token < call.tokens(); ++token) {
      std::vector<double> sum(width, 0.0);
      for (std::int64_t slot = token * top_k; slot < (token + 1) * top_k; ++slot) {
        const std::int64_t local = local_expert(spec, routed.ids.id(slot));
        if (local < 0) continue;
        const double weight = routed.weights.get(slot);
        std::vector<double> x(width);
        for (std::size_t i = 0; i < width; ++i) {
          const double scale = spec.router.apply_router_weight_on_input ? weight : 1.0;
          x[i] = rounded(spec.experts.activation_format,
                         scale * hidden[static_cast<std::size_t>(token) * width + i]);
        }
        add(tensors.experts[static_cast<std::size_t>(local)], x, weight, sum);
      }
      const double factor =
          spec.router.apply_routed_scale_to_output ? spec.router.routed_scaling_factor : 1.0;
      for (std::size_t i = 0; i < width; ++i) {
        out[static_cast<std::size_t>(token) * width + i] += static_cast<float>(factor * sum[i]);
      }
    }
    write_output(call, out);
  }
};

}  // namespace

double plain_activation(const ExpertSpec& experts, double gate, double up) {
  switch (experts.activation) {
    case Activation::swiglu: {
      const double limit = experts.swiglu_limit;
      gate = std::min(gate, limit);
      up = std::clamp(up, -limit, limit);
      return gate * sigmoid(experts.swiglu_alpha * gate) * (up + experts.swiglu_beta);
    }
    case Activation::geglu:
      return 0.5 * gate * std::erfc(-gate / std::numbers::sqrt2) * up;
    case Activation::geglu_tanh:
      return 0.5 * gate *
             (1.0 + std::tanh(std::sqrt(2.0 / std::numbers::pi) *
                              (gate + 0.044715 * gate * gate * gate))) *
             up;
    case Activation::relu2:
      return gate > 0.0 ? gate * gate : 0.0;
    case Activation::silu:
      return gate * sigmoid(gate);
    case Activation::gelu:
      return 0.5 * gate * std::erfc(-gate / std::numbers::sqrt2);
    case Activation::identity:
      return gate;
  }
  return 0.0;
}

MakeFault expert_fault(ActivationModel activation) {
  return [activation](const MoeSpec& asked, const MoeWeights& weights) {
    Fault fault;
    const auto model = std::make_shared<Model>(Model{asked, unpack(asked, weights), activation});
    fault.forward = [model](Call& call) { model->forward(call); };
    return fault;
  };
}

}  // namespace sluice::auditing
