#include "backends/cpu/cpu_backend.hpp"

#include <fmt/format.h>

#include "backends/cpu/cpu_experts.hpp"
#include "base/given_executor.hpp"
#include "kernels/isa_list.hpp"
#include "spec/choices.hpp"

namespace sluice {
namespace {

// By name, so that a field added to the spec is refused until it is honoured here.
FieldSet honoured() {
  return {"router.num_experts",
          "router.top_k",
          "router.score_func",
          "router.score_order",
          "router.router_bias",
          "router.e_score_correction_bias",
          "router.weights_from_biased_scores",
          "router.n_group",
          "router.topk_group",
          "router.group_score",
          "router.norm_topk_prob",
          "router.norm_single_expert",
          "router.norm_eps",
          "router.norm_rule",
          "router.routed_scaling_factor",
          "router.apply_routed_scale_to_output",
          "router.apply_router_weight_on_input",
          "router.router_logits_dtype",
          "experts.hidden_size",
          "experts.intermediate_size",
          "experts.activation",
          "experts.swiglu_alpha",
          "experts.swiglu_beta",
          "experts.swiglu_limit",
          "experts.gate_up_bias",
          "experts.down_bias",
          "experts.gate_up_order",
          "experts.weight_format",
          "experts.activation_format",
          "layer.num_shared_experts",
          "layer.shared_intermediate_size",
          "layer.shared_expert_gate",
          "layer.local_expert_offset",
          "layer.num_local_experts",
          "layer.expert_map",
          "layer.tp_rank",
          "layer.tp_size",
          "layer.output_dtype"};
}

class CpuBackend final : public Backend {
 public:
  std::string_view name() const override { return "cpu"; }
  std::optional<std::string> unavailable() const override { return std::nullopt; }
  FieldSet claims() const override {
    static const FieldSet claims = honoured();
    return claims;
  }

  Support supports(const MoeSpec& spec) const override {
    Support support;
    const auto refuse = [&](const char* field, std::string reason) {
      support.refusals.push_back({field, std::move(reason)});
    };
    if (spec.router.num_experts > kMaxExperts) {
      refuse("router.num_experts",
             fmt::format("is {}; at most {} are accepted", spec.router.num_experts, kMaxExperts));
    }
    if (spec.router.top_k > kMaxTopK) {
      refuse("router.top_k",
             fmt::format("is {}; at most {} is accepted", spec.router.top_k, kMaxTopK));
    }
    const WeightFormat weights = spec.experts.weight_format;
    if (weights != WeightFormat::bf16 && weights != WeightFormat::f32 &&
        weights != WeightFormat::f16) {
      refuse("experts.weight_format",
             fmt::format("is {}; bf16, f32 and f16 are accepted", choice_name(weights)));
    }
    if (spec.experts.activation_format == ActivationFormat::fp8_e4m3) {
      refuse("experts.activation_format", "is fp8_e4m3; bf16, f32 and f16 are accepted");
    }
    if (support.ok()) support.variant = variant_name(choose_isa(), spec.experts);
    return support;
  }

  std::unique_ptr<Experts> load(const MoeSpec& spec, const MoeWeights& weights,
                                const LoadOptions& options) const override {
    return std::make_unique<CpuExperts>(spec, weights, choose_isa(),
                                        given_executor(options.executor));
  }

  // Every element is one chain of operations whose order depends on the spec and the instruction
  // set alone (kernels/linear.hpp).
  bool batch_invariant() const override { return true; }
};

}  // namespace

const Backend& cpu_backend() {
  static const CpuBackend instance;
  return instance;
}

}  // namespace sluice
