// Which field a mutant is about: what the audit should name when it sees one.
#include <array>

#include "audit/faults/fault.hpp"

namespace sluice::auditing {
namespace {

struct Row {
  std::string_view prefix;  // of the mutant's name; the first that fits counts
  std::string_view field;
};

constexpr std::array kRows{
    Row{"scales-of-first-block", "experts.weight_format"},
    Row{"experts-beyond-128s", "router.num_experts"},
    Row{"scale-uninitialised", "experts.weight_format"},
    Row{"softmax-overflows", "router.score_func"},
    Row{"sigmoid-overflows", "experts.activation"},
    Row{"columns-beyond", "experts.hidden_size"},
    Row{"ids-in-a-byte", "router.num_experts"},
    Row{"slots-beyond-8", "router.top_k"},
    Row{"layers-share-the-factor", "router.routed_scaling_factor"},
    Row{"scale-", "router.routed_scaling_factor"},
    Row{"shared-gate", "layer.shared_expert_gate"},
    Row{"shared-width", "layer.shared_intermediate_size"},
    Row{"shared-halves", "experts.gate_up_order"},
    Row{"shared-scratch", ""},
    Row{"shared-", "layer.num_shared_experts"},
    Row{"score-order", "router.score_order"},
    Row{"score-by-subtraction", "router.e_score_correction_bias"},
    Row{"score-every", "router.norm_topk_prob"},
    Row{"score-", "router.score_func"},
    Row{"correction-bias", "router.e_score_correction_bias"},
    Row{"biased-weights", "router.weights_from_biased_scores"},
    Row{"router-bias", "router.router_bias"},
    Row{"group-score", "router.group_score"},
    Row{"group-one-more", "router.topk_group"},
    Row{"group-", "router.n_group"},
    Row{"norm-over-local", "router.norm_topk_prob"},
    Row{"norm-after-scale", "router.routed_scaling_factor"},
    Row{"norm-single", "router.norm_single_expert"},
    Row{"norm-eps-added", "router.norm_rule"},
    Row{"norm-eps", "router.norm_eps"},
    Row{"norm-", "router.norm_topk_prob"},
    Row{"raw-logits", "router.norm_topk_prob"},
    Row{"logits-", "router.router_logits_dtype"},
    Row{"sigmoid-by-tanh", "router.score_func"},
    Row{"activation-default", "experts.activation"},
    Row{"down-scale", "experts.weight_format"},
    Row{"activations-in", "experts.activation_format"},
    Row{"swiglu-constants", "experts.swiglu_alpha"},
    Row{"alpha-", "experts.swiglu_alpha"},
    Row{"beta-", "experts.swiglu_beta"},
    Row{"clamp-", "experts.swiglu_limit"},
    Row{"gelu-", "experts.activation"},
    Row{"relu2-", "experts.activation"},
    Row{"down-bias", "experts.down_bias"},
    Row{"bias-of-first", "experts.down_bias"},
    Row{"gate-up-bias", "experts.gate_up_bias"},
    Row{"input-weight", "router.apply_router_weight_on_input"},
    Row{"offset-", "layer.local_expert_offset"},
    Row{"count-ignored", "layer.num_local_experts"},
    Row{"map-", "layer.expert_map"},
    Row{"reduced-", "layer.num_local_experts"},
    Row{"reduction-", "layer.num_local_experts"},
    Row{"absent-slots", "layer.num_local_experts"},
    Row{"halves-swapped", "experts.gate_up_order"},
    Row{"order-ignored", "experts.gate_up_order"},
    Row{"padding-moves-split", "experts.intermediate_size"},
    Row{"hidden-tail", "experts.hidden_size"},
    Row{"output-tail", "experts.hidden_size"},
    Row{"intermediate-tail", "experts.intermediate_size"},
    Row{"up-takes-gate-scale", "experts.weight_format"},
    Row{"expert-takes", "experts.weight_format"},
    Row{"weights-truncated", "experts.weight_format"},
    Row{"claims-then-refuses", "router.routed_scaling_factor"},
};

}  // namespace

std::string_view field_of_mutant(std::string_view name) {
  for (const Row& row : kRows) {
    if (name.starts_with(row.prefix)) return row.field;
  }
  return {};
}

}  // namespace sluice::auditing
