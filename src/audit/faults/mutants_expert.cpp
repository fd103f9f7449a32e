// E: constants of the activation. H: expert biases.
#include <algorithm>
#include <cmath>
#include <limits>

#include "audit/faults/edit_weights.hpp"
#include "audit/faults/mutant_tables.hpp"
#include "audit/faults/reroute.hpp"
#include "audit/faults/slow_expert.hpp"

namespace sluice::auditing {
namespace {

constexpr double kNoLimit = std::numeric_limits<double>::infinity();

// swiglu with the clamp left to the caller; other kinds are as they should be.
template <typename Clamp>
MakeFault clamp_fault(Clamp clamp) {
  return [clamp](const MoeSpec& asked, const MoeWeights& weights) {
    if (asked.experts.swiglu_limit == kNoLimit) return Fault{};
    return expert_fault([clamp](const ExpertSpec& experts, double gate, double up) {
      clamp(experts.swiglu_limit, gate, up);
      ExpertSpec unlimited = experts;
      unlimited.swiglu_limit = kNoLimit;
      return plain_activation(unlimited, gate, up);
    })(asked, weights);
  };
}

// The inner backend gets no down bias; `share` says what a slot of the given weight adds instead.
MakeFault down_bias_as(float (*share)(float weight, std::int64_t slot)) {
  return [share](const MoeSpec& asked, const MoeWeights& weights) {
    Fault fault;
    if (!asked.experts.down_bias || asked.layer.tp_rank != 0) return fault;
    fault.load = [](Load& load) {
      load.spec.experts.down_bias = false;
      load.weights.down_bias = {};
    };
    fault.forward =
        [share, bias = to_floats(weights.down_bias),
         router_bias = weights.router_bias ? to_floats(weights.router_bias) : std::vector<float>{},
         correction = weights.e_score_correction_bias ? to_floats(weights.e_score_correction_bias)
                                                      : std::vector<float>{}](Call& call) {
          if (call.tokens() == 0) return call.forward();
          const RoutedTokens routed = route_call(call, router_bias, correction, {});
          const std::int64_t top_k = call.spec.router.top_k;
          const std::int64_t width = call.spec.experts.hidden_size;
          const float factor = call.spec.router.apply_routed_scale_to_output
                                   ? static_cast<float>(call.spec.router.routed_scaling_factor)
                                   : 1.0f;
          edit_output(call, [&](std::span<float> out) {
            for (std::int64_t at = 0; at < call.tokens() * top_k; ++at) {
              const std::int64_t local = local_expert(call.spec, routed.ids.id(at));
              if (local < 0) continue;
              const float part = factor * share(routed.weights.get(at), at % top_k);
              for (std::int64_t i = 0; i < width; ++i) {
                out[static_cast<std::size_t>(at / top_k * width + i)] +=
                    part * bias[static_cast<std::size_t>(local * width + i)];
              }
            }
          });
        };
    return fault;
  };
}

void add_constants(std::vector<Mutant>& list) {
  const auto add = [&](std::string_view name, std::string_view meaning, std::string_view cases,
                       MakeFault make) {
    list.push_back({{name, 'E', meaning, cases}, std::move(make), {}});
  };
  add("activation-default", "activation were swiglu", "vllm (SWIGLUOAI aliased to SWIGLU)",
      with_spec([](MoeSpec& s) { s.experts.activation = Activation::swiglu; }));
  add("swiglu-constants-dropped", "swiglu_alpha, swiglu_beta and swiglu_limit were neutral",
      "vllm (SWIGLUOAI aliased to SWIGLU), ktransformers#1862", with_spec([](MoeSpec& s) {
        s.experts.swiglu_alpha = 1.0;
        s.experts.swiglu_beta = 0.0;
        s.experts.swiglu_limit = kNoLimit;
      }));
  add("alpha-dropped", "swiglu_alpha were 1", "sglang#39920",
      with_spec([](MoeSpec& s) { s.experts.swiglu_alpha = 1.0; }));
  add("beta-dropped", "swiglu_beta were 0", "sglang#39939",
      with_spec([](MoeSpec& s) { s.experts.swiglu_beta = 0.0; }));
  add("clamp-dropped", "swiglu_limit were infinite",
      "tokenspeed#1647, tokenspeed#1630 (.9277 for .9360), TensorRT-LLM#13767, omlx#2571",
      with_spec([](MoeSpec& s) { s.experts.swiglu_limit = kNoLimit; }));
  add("clamp-constant", "swiglu_limit were 7 whatever the model says",
      "aiter#4526 (limits 1 and 100 bit-identical)", with_spec([](MoeSpec& s) {
        if (s.experts.swiglu_limit != kNoLimit) s.experts.swiglu_limit = 7.0;
      }));
  add("clamp-gate-below-too", "the gate were clamped on both sides", "sglang#39920",
      clamp_fault([](double limit, double& gate, double& up) {
        gate = std::clamp(gate, -limit, limit);
        up = std::clamp(up, -limit, limit);
      }));
  add("clamp-gate-only", "only the gate were clamped", "TensorRT-LLM#13767",
      clamp_fault([](double limit, double& gate, double&) { gate = std::min(gate, limit); }));
  add("clamp-up-only", "only up were clamped", "TensorRT-LLM#13767",
      clamp_fault([](double limit, double&, double& up) { up = std::clamp(up, -limit, limit); }));
  add("clamp-up-above-only", "up were clamped from above alone", "tokenspeed#1630",
      clamp_fault([](double limit, double& gate, double& up) {
        gate = std::min(gate, limit);
        up = std::min(up, limit);
      }));
  add("clamp-halves-swapped", "the clamps of gate and up were exchanged", "omlx#2571",
      clamp_fault([](double limit, double& gate, double& up) {
        gate = std::clamp(gate, -limit, limit);
        up = std::min(up, limit);
      }));
  add("clamp-after-activation", "the limit were applied to the activation's output", "sglang#39939",
      [](const MoeSpec& asked, const MoeWeights& weights) {
        if (asked.experts.swiglu_limit == kNoLimit) return Fault{};
        return expert_fault([](const ExpertSpec& experts, double gate, double up) {
          ExpertSpec unlimited = experts;
          unlimited.swiglu_limit = kNoLimit;
          const double limit = experts.swiglu_limit;
          return std::clamp(plain_activation(unlimited, gate, up), -limit, limit);
        })(asked, weights);
      });
  add("gelu-by-tanh", "gelu were its tanh approximation", "vllm (one gelu for both names)",
      with_spec([](MoeSpec& s) {
        if (s.experts.activation == Activation::geglu)
          s.experts.activation = Activation::geglu_tanh;
      }));
  add("relu2-not-squared", "relu2 were relu", "vllm (Nemotron-H activation)",
      [](const MoeSpec& asked, const MoeWeights& weights) {
        if (asked.experts.activation != Activation::relu2) return Fault{};
        return expert_fault([](const ExpertSpec&, double gate, double) {
          return std::max(gate, 0.0);
        })(asked, weights);
      });
}

}  // namespace

void add_activation_mutants(std::vector<Mutant>& list) {
  add_constants(list);
  const auto add = [&](std::string_view name, std::string_view meaning, std::string_view cases,
                       MakeFault make) {
    list.push_back({{name, 'H', meaning, cases}, std::move(make), {}});
  };
  add("down-bias-dropped", "down_bias were absent", "ktransformers#1862",
      with_spec([](MoeSpec& s) { s.experts.down_bias = false; }));
  add("down-bias-unweighted", "down_bias were added without the slot's weight", "Automodel#2591",
      down_bias_as([](float, std::int64_t) { return 1.0f; }));
  add("down-bias-first-slot-only", "down_bias were added for the first slot alone",
      "Automodel#2591",
      down_bias_as([](float weight, std::int64_t slot) { return slot == 0 ? weight : 0.0f; }));
  add("down-bias-weighted-twice", "down_bias were multiplied by the weight twice", "Automodel#2591",
      down_bias_as([](float weight, std::int64_t) { return weight * weight; }));
  add("down-bias-on-every-rank", "every tensor-parallel rank added down_bias", "torchtitan#4245",
      with_spec([](MoeSpec& s) { s.layer.tp_rank = 0; }));
  add("gate-up-bias-dropped", "gate_up_bias were absent", "ktransformers#1862",
      with_spec([](MoeSpec& s) { s.experts.gate_up_bias = false; }));
  add("gate-up-bias-in-other-order", "gate_up_bias had its halves exchanged", "Automodel#2591",
      [](const MoeSpec& asked, const MoeWeights&) {
        Fault fault;
        if (!is_gated(asked.experts.activation)) return fault;
        fault.load = [](Load& load) {
          const bool interleaved = load.spec.experts.gate_up_order == GateUpOrder::interleaved;
          const auto rows = static_cast<std::size_t>(2 * local_width(load.spec));
          edit_tensor(load, load.weights.gate_up_bias, [&](std::span<float> values) {
            for (std::size_t first = 0; first < values.size(); first += rows) {
              for (std::size_t i = 0; i < rows / 2; ++i) {
                if (interleaved) {
                  std::swap(values[first + 2 * i], values[first + 2 * i + 1]);
                } else {
                  std::swap(values[first + i], values[first + rows / 2 + i]);
                }
              }
            }
          });
        };
        return fault;
      });
  add("bias-of-first-expert", "every expert used the first expert's down_bias", "Automodel#2591",
      [](const MoeSpec&, const MoeWeights&) {
        Fault fault;
        fault.load = [](Load& load) {
          const auto width = static_cast<std::size_t>(load.spec.experts.hidden_size);
          edit_tensor(load, load.weights.down_bias, [&](std::span<float> values) {
            for (std::size_t i = width; i < values.size(); ++i) values[i] = values[i % width];
          });
        };
        return fault;
      });
}

}  // namespace sluice::auditing
