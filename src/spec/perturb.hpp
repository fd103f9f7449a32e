// How to move each field away from neutral: Field::perturb. Values are chosen so that losing them
// shows: no powers of two, no epsilon that vanishes next to the sum it is added to.
#pragma once

#include <cstdint>

#include <sluice/spec.hpp>

namespace sluice {

bool is_valid(const MoeSpec& spec);

// Sizes have no neutral value to move away from.
inline bool perturb_num_experts(MoeSpec&, std::uint64_t) { return false; }
inline bool perturb_top_k(MoeSpec&, std::uint64_t) { return false; }
inline bool perturb_hidden_size(MoeSpec&, std::uint64_t) { return false; }
inline bool perturb_intermediate_size(MoeSpec&, std::uint64_t) { return false; }

bool perturb_score_func(MoeSpec& spec, std::uint64_t seed);
bool perturb_score_order(MoeSpec& spec, std::uint64_t seed);
bool perturb_router_bias(MoeSpec& spec, std::uint64_t seed);
bool perturb_e_score_correction_bias(MoeSpec& spec, std::uint64_t seed);
bool perturb_weights_from_biased_scores(MoeSpec& spec, std::uint64_t seed);
bool perturb_n_group(MoeSpec& spec, std::uint64_t seed);
bool perturb_topk_group(MoeSpec& spec, std::uint64_t seed);
bool perturb_group_score(MoeSpec& spec, std::uint64_t seed);
bool perturb_norm_topk_prob(MoeSpec& spec, std::uint64_t seed);
bool perturb_norm_single_expert(MoeSpec& spec, std::uint64_t seed);
bool perturb_norm_eps(MoeSpec& spec, std::uint64_t seed);
bool perturb_norm_rule(MoeSpec& spec, std::uint64_t seed);
bool perturb_routed_scaling_factor(MoeSpec& spec, std::uint64_t seed);
bool perturb_apply_routed_scale_to_output(MoeSpec& spec, std::uint64_t seed);
bool perturb_apply_router_weight_on_input(MoeSpec& spec, std::uint64_t seed);
bool perturb_router_logits_dtype(MoeSpec& spec, std::uint64_t seed);
bool perturb_activation(MoeSpec& spec, std::uint64_t seed);
bool perturb_swiglu_alpha(MoeSpec& spec, std::uint64_t seed);
bool perturb_swiglu_beta(MoeSpec& spec, std::uint64_t seed);
bool perturb_swiglu_limit(MoeSpec& spec, std::uint64_t seed);
bool perturb_gate_up_bias(MoeSpec& spec, std::uint64_t seed);
bool perturb_down_bias(MoeSpec& spec, std::uint64_t seed);
bool perturb_gate_up_order(MoeSpec& spec, std::uint64_t seed);
bool perturb_weight_format(MoeSpec& spec, std::uint64_t seed);
bool perturb_activation_format(MoeSpec& spec, std::uint64_t seed);
bool perturb_num_shared_experts(MoeSpec& spec, std::uint64_t seed);
bool perturb_shared_intermediate_size(MoeSpec& spec, std::uint64_t seed);
bool perturb_shared_expert_gate(MoeSpec& spec, std::uint64_t seed);
bool perturb_local_expert_offset(MoeSpec& spec, std::uint64_t seed);
bool perturb_num_local_experts(MoeSpec& spec, std::uint64_t seed);
bool perturb_expert_map(MoeSpec& spec, std::uint64_t seed);
bool perturb_tp_rank(MoeSpec& spec, std::uint64_t seed);
bool perturb_tp_size(MoeSpec& spec, std::uint64_t seed);
bool perturb_output_dtype(MoeSpec& spec, std::uint64_t seed);

}  // namespace sluice
