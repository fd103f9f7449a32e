#include "spec/config/moe_keys.hpp"

namespace sluice::config {
namespace {

constexpr MoeKey kKeys[] = {
    // scores
    {"score_func", "null"},
    {"scoring_func", "null"},
    {"score_function", "null"},
    {"moe_router_activation_func", "null"},
    {"moe_router_score_function", "null"},
    {"moe_gate_act", "null"},
    {"router_logit_softcapping", "null"},
    {"router_bias", "false"},
    // choice
    {"topk_method", "null"},
    {"use_grouped_topk", "false"},
    {"n_group", "1"},
    {"num_expert_group", "1"},
    {"num_expert_groups", "1"},
    {"topk_group", "1"},
    {"num_limited_groups", "1"},
    {"use_routing_bias", "false"},
    {"moe_use_aux_free", "false"},
    {"use_expert_bias", "false"},
    {"moe_router_enable_expert_bias", "false"},
    // weights
    {"norm_topk_prob", "null"},
    {"route_norm", "null"},
    {"moe_renormalize", "null"},
    {"moe_norm_min", "null"},
    {"routed_scaling_factor", "1.0"},
    {"route_scale", "1.0"},
    {"moe_router_topk_scaling_factor", "1.0"},
    {"apply_router_weight_on_input", "false"},
    // experts
    {"mlp_hidden_act", "null"},
    {"hidden_activation", "null"},
    {"swiglu_limit", "null"},
    {"swiglu_alpha", "null"},
    {"swiglu_beta", "null"},
    {"mlp_bias", "false"},
    {"use_bias", "false"},
    {"moe_latent_size", "null"},
    {"zero_expert_num", "0"},
    // shared experts
    {"n_shared_experts", "0"},
    {"num_shared_experts", "0"},
    {"moe_num_shared_experts", "0"},
    {"shared_expert_intermediate_size", "0"},
    {"moe_shared_expert_intermediate_size", "0"},
    {"shared_intermediate_size", "0"},
};

}  // namespace

std::span<const MoeKey> moe_keys() { return kKeys; }

}  // namespace sluice::config
