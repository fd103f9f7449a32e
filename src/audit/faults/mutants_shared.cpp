// B: shared experts, lost, doubled, scaled. F: the router's weight on the expert's input.
#include <cmath>

#include "audit/faults/edit_weights.hpp"
#include "audit/faults/mutant_tables.hpp"
#include "audit/faults/reroute.hpp"
#include "audit/faults/split_run.hpp"

namespace sluice::auditing {
namespace {

// routed + f(spec) * shared.
MakeFault shared_times(double (*f)(const MoeSpec&)) {
  return [f](const MoeSpec&, const MoeWeights&) {
    Fault fault;
    fault.forward = [f](Call& call) {
      if (call.spec.layer.num_shared_experts == 0 || call.tokens() == 0) return call.forward();
      const Parts parts = run_parts(call);
      std::vector<float> out = parts.routed;
      const auto by = static_cast<float>(f(call.spec));
      for (std::size_t i = 0; i < out.size(); ++i) out[i] += by * parts.shared[i];
      write_output(call, out);
    };
    return fault;
  };
}

// The gate is not given to the inner backend; `apply` turns w·x into the multiplier.
MakeFault gate_as(float (*apply)(float)) {
  return [apply](const MoeSpec& asked, const MoeWeights& weights) {
    Fault fault;
    if (!asked.layer.shared_expert_gate) return fault;
    fault.load = [](Load& load) {
      load.spec.layer.shared_expert_gate = false;
      load.weights.shared_expert_gate = {};
    };
    fault.forward = [apply, gate = to_floats(weights.shared_expert_gate)](Call& call) {
      if (call.tokens() == 0) return call.forward();
      const Parts parts = run_parts(call);
      std::vector<float> out = parts.routed;
      const std::vector<float> hidden = to_floats(call.input.hidden_states);
      const std::size_t width = gate.size();
      for (std::size_t token = 0; token * width < out.size(); ++token) {
        float dot = 0.0f;
        for (std::size_t i = 0; i < width; ++i) dot += gate[i] * hidden[token * width + i];
        for (std::size_t i = token * width; i < (token + 1) * width; ++i) {
          out[i] += apply(dot) * parts.shared[i];
        }
      }
      write_output(call, out);
    };
    return fault;
  };
}

void lose_shared(MoeSpec& spec) {
  spec.layer.num_shared_experts = 0;
  spec.layer.shared_intermediate_size = 0;
  spec.layer.shared_expert_gate = false;
}

// Given routing with a further slot: the first expert that the token lacks, at weight 0.
RoutedTokens with_one_more_slot(const Call& call) {
  const std::int64_t top_k = call.spec.router.top_k;
  const RoutedTokens given = route_call(call, {}, {}, {});
  RoutedTokens wide{{DType::i32, {call.tokens(), top_k + 1}},
                    {DType::f32, {call.tokens(), top_k + 1}}};
  for (std::int64_t token = 0; token < call.tokens(); ++token) {
    std::int32_t unused = 0;
    for (std::int64_t slot = 0; slot < top_k; ++slot) {
      const auto id = static_cast<std::int32_t>(given.ids.id(token * top_k + slot));
      store_unaligned(wide.ids.data(), token * (top_k + 1) + slot, id);
      wide.weights.set(token * (top_k + 1) + slot, given.weights.get(token * top_k + slot));
    }
    const auto taken = [&] {
      for (std::int64_t slot = 0; slot < top_k; ++slot) {
        if (given.ids.id(token * top_k + slot) == unused) return true;
      }
      return false;
    };
    while (taken()) ++unused;
    store_unaligned(wide.ids.data(), token * (top_k + 1) + top_k, unused);
  }
  return wide;
}

// One routed expert more, no shared expert: the count went into top_k.
MakeFault shared_counted_as_routed() {
  return [](const MoeSpec& asked, const MoeWeights&) {
    Fault fault;
    const bool room = asked.router.top_k < asked.router.num_experts;
    if (asked.layer.num_shared_experts == 0 || !room) return fault;
    fault.load = [](Load& load) {
      remove_shared(load);
      load.spec.router.topk_group = load.spec.router.n_group;
      load.spec.router.top_k += load.spec.router.apply_router_weight_on_input ? 0 : 1;
    };
    fault.forward = [](Call& call) {
      const bool widened = !call.spec.router.apply_router_weight_on_input;
      if (!widened || call.tokens() == 0) return call.forward();
      // K + 1 ids do not fit the caller's buffers.
      call.output.topk_ids = {};
      call.output.topk_weights = {};
      if (!call.input.router_logits.empty()) return call.forward();
      const RoutedTokens wide = with_one_more_slot(call);
      give_routing(call, wide);
      call.forward();
    };
    return fault;
  };
}

}  // namespace

void add_shared_mutants(std::vector<Mutant>& list) {
  const auto add = [&](std::string_view name, std::string_view meaning, std::string_view cases,
                       MakeFault make) {
    list.push_back({{name, 'B', meaning, cases}, std::move(make), {}});
  };
  add("shared-dropped", "there were no shared experts", "vllm#49378, tpu-inference#3151",
      with_spec(lose_shared));
  add("shared-doubled", "the shared experts were added twice", "tpu-inference#3435, vllm#49378",
      shared_times([](const MoeSpec&) { return 2.0; }));
  add("shared-scaled", "routed_scaling_factor also multiplied the shared experts", "sglang#28237",
      shared_times([](const MoeSpec& s) { return s.router.routed_scaling_factor; }));
  add("shared-divided", "the shared experts were weighted 1/routed_scaling_factor",
      "sglang#28237 (weight 1/s, with nobody multiplying by s)",
      shared_times([](const MoeSpec& s) { return 1.0 / s.router.routed_scaling_factor; }));
  add("shared-counted-as-routed", "a further routed expert replaced the shared expert",
      "sglang#38963", shared_counted_as_routed());
  add("shared-gate-dropped", "shared_expert_gate were absent", "tpu-inference#3151",
      gate_as([](float) { return 1.0f; }));
  add("shared-gate-linear", "shared_expert_gate had no sigmoid", "transformers#48647",
      gate_as([](float dot) { return dot; }));
  add("shared-gate-twice", "shared_expert_gate were applied twice", "tpu-inference#3435",
      gate_as([](float dot) {
        const float gate = 1.0f / (1.0f + std::exp(-dot));
        return gate * gate;
      }));
  add("shared-width-default", "shared_intermediate_size were num_shared_experts * I",
      "sglang#38963 (count without width)",
      with_spec([](MoeSpec& s) { s.layer.shared_intermediate_size = 0; }));
}

void add_input_weight_mutants(std::vector<Mutant>& list) {
  const auto add = [&](std::string_view name, std::string_view meaning, std::string_view cases,
                       MakeFault make) {
    list.push_back({{name, 'F', meaning, cases}, std::move(make), {}});
  };
  add("input-weight-moved", "apply_router_weight_on_input were false",
      "TensorRT-LLM#3492, TensorRT-LLM#18018, sglang#22654",
      with_spec([](MoeSpec& s) { s.router.apply_router_weight_on_input = false; }));
  add("input-weight-discarded", "the router's weight on the input were 1",
      "sglang#7889, sglang#6274", [](const MoeSpec& asked, const MoeWeights& weights) {
        if (!asked.router.apply_router_weight_on_input) return Fault{};
        return router_fault({.ones = true})(asked, weights);
      });
  add("input-weight-twice", "the router's weight were applied to the input and to the output",
      "vllm#43694, vllm-ascend#2348", [](const MoeSpec& asked, const MoeWeights& weights) {
        Fault fault;
        if (!asked.router.apply_router_weight_on_input) return fault;
        fault.forward = [router_bias = weights.router_bias ? to_floats(weights.router_bias)
                                                           : std::vector<float>{},
                         correction = weights.e_score_correction_bias
                                          ? to_floats(weights.e_score_correction_bias)
                                          : std::vector<float>{}](Call& call) {
          if (call.tokens() == 0) return call.forward();
          const RoutedTokens routed = route_call(call, router_bias, correction, {});
          Parts parts = run_parts(call);
          const auto width = static_cast<std::size_t>(call.spec.experts.hidden_size);
          for (std::size_t i = 0; i < parts.routed.size(); ++i) {
            parts.routed[i] *= routed.weights.get(static_cast<std::int64_t>(i / width));
            parts.routed[i] += parts.shared[i];
          }
          write_output(call, parts.routed);
        };
        return fault;
      });
}

}  // namespace sluice::auditing
