// drop:FIELD and double:FIELD for every field of the registry.
#include <algorithm>
#include <cstring>
#include <vector>

#include "audit/faults/edit_weights.hpp"
#include "audit/faults/reroute.hpp"
#include "base/fail.hpp"

namespace sluice::auditing {
namespace {

// The inner backend writes its own dtype; the caller's buffer receives the bytes as they are.
void forward_with_wrong_dtype(Call& call) {
  const TensorView hidden = call.input.hidden_states;
  OwnedTensor mine(hidden.dtype, hidden.shape);
  const MutableTensorView theirs = call.output.output;
  call.output.output = mine.mutable_view();
  call.forward();
  const auto room = static_cast<std::size_t>(theirs.shape.elements() * bits(theirs.dtype) / 8);
  if (room > 0) std::memcpy(theirs.data, mine.data(), std::min(room, mine.size_bytes()));
}

Fault twice_by_spec(void (*change)(MoeSpec&)) {
  Fault fault;
  fault.load = [change](Load& load) { change(load.spec); };
  return fault;
}

void times_two(std::span<float> values) {
  for (float& value : values) value *= 2.0f;
}

Fault twice_by_tensor(TensorView MoeWeights::*member) {
  Fault fault;
  fault.load = [member](Load& load) { edit_tensor(load, load.weights.*member, times_two); };
  return fault;
}

}  // namespace

MakeFault drop_fault(std::string_view name) {
  const Field& lost = field(find_field(name));
  if (lost.kind == FieldKind::size) {
    fail(ErrorKind::user,
         "{} is a size; a layer without it does not exist, so it cannot be dropped", lost.name);
  }
  return [&lost](const MoeSpec&, const MoeWeights&) {
    Fault fault;
    fault.load = [&lost](Load& load) {
      const MoeSpec before = load.spec;
      lost.reset(load.spec);
      fit_weights(load, before);
    };
    if (lost.key == "output_dtype") fault.forward = forward_with_wrong_dtype;
    return fault;
  };
}

MakeFault double_fault(std::string_view name) {
  const Field& doubled = field(find_field(name));
  const std::string_view key = doubled.key;
  const auto of = [](auto make) -> MakeFault {
    return [make](const MoeSpec&, const MoeWeights&) { return make(); };
  };
  if (key == "routed_scaling_factor") {
    return of([] {
      return twice_by_spec(
          [](MoeSpec& s) { s.router.routed_scaling_factor *= s.router.routed_scaling_factor; });
    });
  }
  if (key == "swiglu_alpha") {
    return of([] {
      return twice_by_spec([](MoeSpec& s) { s.experts.swiglu_alpha *= s.experts.swiglu_alpha; });
    });
  }
  if (key == "swiglu_beta") {
    return of([] { return twice_by_spec([](MoeSpec& s) { s.experts.swiglu_beta *= 2.0; }); });
  }
  if (key == "norm_eps") {
    return of([] { return twice_by_spec([](MoeSpec& s) { s.router.norm_eps *= 2.0; }); });
  }
  if (key == "router_bias") return of([] { return twice_by_tensor(&MoeWeights::router_bias); });
  if (key == "e_score_correction_bias") {
    return of([] { return twice_by_tensor(&MoeWeights::e_score_correction_bias); });
  }
  if (key == "gate_up_bias") return of([] { return twice_by_tensor(&MoeWeights::gate_up_bias); });
  if (key == "down_bias") return of([] { return twice_by_tensor(&MoeWeights::down_bias); });
  if (key == "num_shared_experts") {
    return of([] {
      Fault fault;
      fault.load = [](Load& load) {
        edit_shared_down(load,
                         [](std::span<float> values, auto, auto, auto) { times_two(values); });
      };
      return fault;
    });
  }
  if (key == "norm_topk_prob") return router_fault({.normalise_twice = true});
  if (key == "apply_router_weight_on_input") return router_fault({.square_weights_on_input = true});
  fail(
      ErrorKind::user,
      "{} cannot be applied twice; double: takes routed_scaling_factor, swiglu_alpha, swiglu_beta, "
      "norm_eps, router_bias, e_score_correction_bias, gate_up_bias, down_bias, "
      "num_shared_experts, norm_topk_prob, apply_router_weight_on_input",
      doubled.name);
}

}  // namespace sluice::auditing
