#include "backends/plugin/c_spec.hpp"

#include <sluice/fields.hpp>

#include "spec/completeness.hpp"

namespace sluice::plugin {
namespace {

// struct_size is the one member that is no field.
static_assert(completeness::member_count<sluice_spec>() == kFieldCount + 1,
              "sluice_spec in <sluice/plugin.h> lacks a field of the registry: append it there and "
              "fill it below");

// The C enumerations count as ours do.
template <typename Ours>
constexpr bool same(int c_value, Ours value) {
  return c_value == static_cast<int>(value);
}
static_assert(same(SLUICE_SCORE_NONE, ScoreFunc::none));
static_assert(same(SLUICE_SCORE_SIGMOID, ScoreFunc::sigmoid));
static_assert(same(SLUICE_SCORE_SQRT_SOFTPLUS, ScoreFunc::sqrt_softplus));
static_assert(same(SLUICE_AFTER_TOPK, ScoreOrder::after_topk));
static_assert(same(SLUICE_GROUP_MAX, GroupScore::max));
static_assert(same(SLUICE_NORM_CLAMP, NormRule::clamp));
static_assert(same(SLUICE_LOGITS_BF16, LogitsDType::bf16));
static_assert(same(SLUICE_GEGLU, Activation::geglu));
static_assert(same(SLUICE_GEGLU_TANH, Activation::geglu_tanh));
static_assert(same(SLUICE_RELU2, Activation::relu2));
static_assert(same(SLUICE_SILU, Activation::silu));
static_assert(same(SLUICE_GELU, Activation::gelu));
static_assert(same(SLUICE_IDENTITY, Activation::identity));
static_assert(same(SLUICE_UP_GATE, GateUpOrder::up_gate));
static_assert(same(SLUICE_INTERLEAVED, GateUpOrder::interleaved));
static_assert(same(SLUICE_WEIGHT_F32, WeightFormat::f32));
static_assert(same(SLUICE_WEIGHT_F16, WeightFormat::f16));
static_assert(same(SLUICE_WEIGHT_FP8_E4M3_TENSOR, WeightFormat::fp8_e4m3_tensor));
static_assert(same(SLUICE_WEIGHT_FP8_E4M3_CHANNEL, WeightFormat::fp8_e4m3_channel));
static_assert(same(SLUICE_WEIGHT_FP8_E4M3_BLOCK128, WeightFormat::fp8_e4m3_block128));
static_assert(same(SLUICE_WEIGHT_NVFP4, WeightFormat::nvfp4));
static_assert(same(SLUICE_WEIGHT_MXFP4, WeightFormat::mxfp4));
static_assert(same(SLUICE_WEIGHT_INT4, WeightFormat::int4));
static_assert(same(SLUICE_ACTIVATION_F32, ActivationFormat::f32));
static_assert(same(SLUICE_ACTIVATION_F16, ActivationFormat::f16));
static_assert(same(SLUICE_ACTIVATION_FP8_E4M3, ActivationFormat::fp8_e4m3));
static_assert(same(SLUICE_OUTPUT_F32, OutputDType::f32));
static_assert(same(SLUICE_OUTPUT_BF16, OutputDType::bf16));
static_assert(same(SLUICE_OUTPUT_F16, OutputDType::f16));

template <typename E>
std::int32_t number(E value) {
  return static_cast<std::int32_t>(value);
}

}  // namespace

sluice_spec to_c(const MoeSpec& spec) {
  const RouterSpec& router = spec.router;
  const ExpertSpec& experts = spec.experts;
  const LayerSpec& layer = spec.layer;
  // Designated initialisers, complete and in order: -Wextra warns about a member left out.
  return sluice_spec{
      .struct_size = sizeof(sluice_spec),
      .num_experts = router.num_experts,
      .top_k = router.top_k,
      .score_func = number(router.score_func),
      .score_order = number(router.score_order),
      .router_bias = router.router_bias,
      .e_score_correction_bias = router.e_score_correction_bias,
      .weights_from_biased_scores = router.weights_from_biased_scores,
      .group_score = number(router.group_score),
      .n_group = router.n_group,
      .topk_group = router.topk_group,
      .norm_eps = router.norm_eps,
      .routed_scaling_factor = router.routed_scaling_factor,
      .norm_topk_prob = router.norm_topk_prob,
      .norm_rule = number(router.norm_rule),
      .apply_routed_scale_to_output = router.apply_routed_scale_to_output,
      .apply_router_weight_on_input = router.apply_router_weight_on_input,
      .router_logits_dtype = number(router.router_logits_dtype),
      .activation = number(experts.activation),
      .hidden_size = experts.hidden_size,
      .intermediate_size = experts.intermediate_size,
      .swiglu_alpha = experts.swiglu_alpha,
      .swiglu_beta = experts.swiglu_beta,
      .swiglu_limit = experts.swiglu_limit,
      .gate_up_bias = experts.gate_up_bias,
      .down_bias = experts.down_bias,
      .gate_up_order = number(experts.gate_up_order),
      .weight_format = number(experts.weight_format),
      .activation_format = number(experts.activation_format),
      .shared_expert_gate = layer.shared_expert_gate,
      .num_shared_experts = layer.num_shared_experts,
      .shared_intermediate_size = shared_width(spec),
      .local_expert_offset = layer.local_expert_offset,
      .num_local_experts = local_expert_count(spec),
      .expert_map = layer.expert_map.empty() ? nullptr : layer.expert_map.data(),
      .tp_rank = layer.tp_rank,
      .tp_size = layer.tp_size,
      .output_dtype = number(layer.output_dtype),
      .norm_single_expert = router.norm_single_expert,
  };
}

}  // namespace sluice::plugin
