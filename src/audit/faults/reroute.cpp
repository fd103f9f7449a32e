#include "audit/faults/reroute.hpp"

#include <utility>

namespace sluice::auditing {

RoutedTokens route_call(const Call& call, std::span<const float> router_bias,
                        std::span<const float> correction_bias, const RouterFaults& faults) {
  const std::int64_t tokens = call.tokens();
  const std::int64_t top_k = call.spec.router.top_k;
  const std::int64_t experts = call.spec.router.num_experts;
  RoutedTokens routed{{DType::i32, {tokens, top_k}}, {DType::f32, {tokens, top_k}}};
  const TensorView& logits = call.input.router_logits;
  std::vector<float> row(static_cast<std::size_t>(experts));
  for (std::int64_t token = 0; token < tokens; ++token) {
    if (logits.empty()) {
      for (std::int64_t slot = token * top_k; slot < (token + 1) * top_k; ++slot) {
        const auto id = load_int(call.input.topk_ids.data, call.input.topk_ids.dtype, slot);
        store_unaligned(routed.ids.data(), slot, static_cast<std::int32_t>(id));
        routed.weights.set(
            slot, load_float(call.input.topk_weights.data, call.input.topk_weights.dtype, slot));
      }
      continue;
    }
    for (std::int64_t e = 0; e < experts; ++e) {
      row[static_cast<std::size_t>(e)] = load_float(logits.data, logits.dtype, token * experts + e);
    }
    const Routing routing = route(call.spec, {router_bias, correction_bias}, row, faults);
    for (std::size_t slot = 0; slot < routing.ids.size(); ++slot) {
      const std::int64_t at = token * top_k + static_cast<std::int64_t>(slot);
      store_unaligned(routed.ids.data(), at, routing.ids[slot]);
      routed.weights.set(at, routing.weights[slot]);
    }
  }
  return routed;
}

void give_routing(Call& call, const RoutedTokens& routed) {
  call.input.router_logits = {};
  call.input.topk_ids = routed.ids.view();
  call.input.topk_weights = routed.weights.view();
}

MakeFault router_fault_when(
    const std::function<RouterFaults(const MoeSpec&, std::int64_t tokens)>& faults) {
  return [faults](const MoeSpec&, const MoeWeights& weights) {
    Fault fault;
    fault.forward =
        [faults,
         router_bias = weights.router_bias ? to_floats(weights.router_bias) : std::vector<float>{},
         correction = weights.e_score_correction_bias ? to_floats(weights.e_score_correction_bias)
                                                      : std::vector<float>{}](Call& call) {
          if (call.input.router_logits.empty() || call.tokens() == 0) return call.forward();
          const RoutedTokens routed =
              route_call(call, router_bias, correction, faults(call.spec, call.tokens()));
          give_routing(call, routed);
          call.forward();
        };
    return fault;
  };
}

MakeFault router_fault(const RouterFaults& faults) {
  return router_fault_when([faults](const MoeSpec&, std::int64_t) { return faults; });
}

void edit_output(Call& call, const std::function<void(std::span<float>)>& edit) {
  call.forward();
  const MutableTensorView& output = call.output.output;
  if (output.shape.elements() == 0) return;
  std::vector<float> values = to_floats(output);
  edit(values);
  for (std::size_t i = 0; i < values.size(); ++i) {
    store_float(output.data, output.dtype, static_cast<std::int64_t>(i), values[i]);
  }
}

}  // namespace sluice::auditing
