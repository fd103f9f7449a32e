#include "spec/draw.hpp"
#include "spec/perturb.hpp"

namespace sluice {
namespace {

bool takes_swiglu_constants(const MoeSpec& spec) {
  return spec.experts.activation == Activation::swiglu;
}

bool has_swiglu_constants(const ExpertSpec& experts) {
  const ExpertSpec neutral;
  return experts.swiglu_alpha != neutral.swiglu_alpha ||
         experts.swiglu_beta != neutral.swiglu_beta || experts.swiglu_limit != neutral.swiglu_limit;
}

}  // namespace

bool perturb_activation(MoeSpec& spec, std::uint64_t seed) {
  if (has_swiglu_constants(spec.experts)) return false;  // they belong to swiglu alone
  Draw draw(seed);
  spec.experts.activation =
      spec.experts.gate_up_order == GateUpOrder::gate_up
          ? draw.one_of(Activation::geglu, Activation::geglu_tanh, Activation::relu2,
                        Activation::silu, Activation::gelu, Activation::identity)
          : draw.one_of(Activation::geglu, Activation::geglu_tanh);
  return true;
}

bool perturb_swiglu_alpha(MoeSpec& spec, std::uint64_t seed) {
  if (!takes_swiglu_constants(spec)) return false;
  Draw draw(seed);
  spec.experts.swiglu_alpha = draw.real(1.5, 1.9);
  return true;
}

bool perturb_swiglu_beta(MoeSpec& spec, std::uint64_t seed) {
  if (!takes_swiglu_constants(spec)) return false;
  Draw draw(seed);
  spec.experts.swiglu_beta = draw.real(0.6, 1.4);
  return true;
}

bool perturb_swiglu_limit(MoeSpec& spec, std::uint64_t seed) {
  if (!takes_swiglu_constants(spec)) return false;
  Draw draw(seed);
  // Low enough to bite on gates and ups of unit scale.
  spec.experts.swiglu_limit = draw.real(0.4, 0.9);
  return true;
}

bool perturb_gate_up_bias(MoeSpec& spec, std::uint64_t) {
  spec.experts.gate_up_bias = true;
  return true;
}

bool perturb_down_bias(MoeSpec& spec, std::uint64_t) {
  spec.experts.down_bias = true;
  return true;
}

bool perturb_gate_up_order(MoeSpec& spec, std::uint64_t seed) {
  if (!is_gated(spec.experts.activation)) return false;
  Draw draw(seed);
  spec.experts.gate_up_order = draw.one_of(GateUpOrder::up_gate, GateUpOrder::interleaved);
  return true;
}

bool perturb_weight_format(MoeSpec& spec, std::uint64_t seed) {
  Draw draw(seed);
  spec.experts.weight_format = draw.one_of(WeightFormat::f16, WeightFormat::f32);
  return true;
}

bool perturb_activation_format(MoeSpec& spec, std::uint64_t seed) {
  Draw draw(seed);
  spec.experts.activation_format = draw.one_of(ActivationFormat::f16, ActivationFormat::f32);
  return true;
}

}  // namespace sluice
