// The registry's rows with their types: what JSON needs to read and write a member by name.
// Everyone else reads the untyped fields() of <sluice/fields.hpp>.
#pragma once

#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include <fmt/format.h>

#include <sluice/fields.hpp>

#include "spec/choices.hpp"
#include "spec/perturb.hpp"

namespace sluice {

template <auto Group, auto Member>
struct Row {
  Field field;

  static auto& get(MoeSpec& spec) { return spec.*Group.*Member; }
  static const auto& get(const MoeSpec& spec) { return spec.*Group.*Member; }
  using Value = std::remove_cvref_t<decltype(get(std::declval<const MoeSpec&>()))>;

  static bool is_default(const MoeSpec& spec) { return get(spec) == get(MoeSpec{}); }
  static void reset(MoeSpec& spec) { get(spec) = get(MoeSpec{}); }
  static bool equal(const MoeSpec& a, const MoeSpec& b) { return get(a) == get(b); }
  static std::string value(const MoeSpec& spec) {
    if constexpr (std::is_enum_v<Value>) {
      return std::string(choice_name(get(spec)));
    } else if constexpr (std::is_same_v<Value, std::vector<std::int32_t>>) {
      return fmt::format("[{}]", fmt::join(get(spec), ", "));
    } else {
      return fmt::format("{}", get(spec));
    }
  }
};

using Perturbation = bool (*)(MoeSpec&, std::uint64_t);

// A perturbation proposes; the spec as a whole decides. So fields can be piled up in any order.
template <Perturbation Propose>
bool perturb_validly(MoeSpec& spec, std::uint64_t seed) {
  MoeSpec moved = spec;
  if (!Propose(moved, seed) || !is_valid(moved)) return false;
  spec = std::move(moved);
  return true;
}

template <auto Group, auto Member, Perturbation Propose>
constexpr Row<Group, Member> row(std::string_view name, FieldKind kind, std::string_view neutral,
                                 std::string_view meaning, bool (*is_neutral)(const MoeSpec&)) {
  using R = Row<Group, Member>;
  return {{name, name.substr(name.find('.') + 1), kind, neutral, meaning, is_neutral, &R::reset,
           &perturb_validly<Propose>, &R::value, &R::equal}};
}

// The usual case: one spelling of neutral, the default.
template <auto Group, auto Member, Perturbation Propose>
constexpr Row<Group, Member> row(std::string_view name, FieldKind kind, std::string_view neutral,
                                 std::string_view meaning) {
  return row<Group, Member, Propose>(name, kind, neutral, meaning, &Row<Group, Member>::is_default);
}

// Neutral in more than one spelling.
inline bool holds_all_experts(const MoeSpec& spec) {
  return spec.layer.num_local_experts == kAllExperts ||
         spec.layer.num_local_experts == spec.router.num_experts;
}
inline bool has_default_shared_width(const MoeSpec& spec) {
  return spec.layer.shared_intermediate_size == 0 ||
         spec.layer.shared_intermediate_size ==
             spec.layer.num_shared_experts * spec.experts.intermediate_size;
}
inline bool size_is_never_neutral(const MoeSpec&) { return false; }

#define SLUICE_ROUTER(member) row<&MoeSpec::router, &RouterSpec::member, perturb_##member>
#define SLUICE_EXPERTS(member) row<&MoeSpec::experts, &ExpertSpec::member, perturb_##member>
#define SLUICE_LAYER(member) row<&MoeSpec::layer, &LayerSpec::member, perturb_##member>

inline constexpr std::tuple kRegistry{
    SLUICE_ROUTER(num_experts)("router.num_experts", FieldKind::size, "–",
                               "E: experts over all ranks", size_is_never_neutral),
    SLUICE_ROUTER(top_k)("router.top_k", FieldKind::size, "–", "K: experts chosen per token",
                         size_is_never_neutral),
    SLUICE_ROUTER(score_func)("router.score_func", FieldKind::choice, "softmax",
                              "turns router logits into scores"),
    SLUICE_ROUTER(score_order)("router.score_order", FieldKind::choice, "before_topk",
                               "after_topk: choose on raw logits, score only the chosen"),
    SLUICE_ROUTER(router_bias)("router.router_bias", FieldKind::tensor_flag, "false",
                               "bias [E] of the router's linear layer, part of the logits"),
    SLUICE_ROUTER(e_score_correction_bias)("router.e_score_correction_bias", FieldKind::tensor_flag,
                                           "false", "bias [E] added to scores for choosing only"),
    SLUICE_ROUTER(weights_from_biased_scores)(
        "router.weights_from_biased_scores", FieldKind::flag, "false",
        "weights gather the biased scores (Moonshot's released code)"),
    SLUICE_ROUTER(n_group)("router.n_group", FieldKind::integer, "1",
                           "equal groups that the experts are split into"),
    SLUICE_ROUTER(topk_group)("router.topk_group", FieldKind::integer, "1",
                              "best groups kept; experts are chosen inside them"),
    SLUICE_ROUTER(group_score)("router.group_score", FieldKind::choice, "sum_of_top2",
                               "ranks groups by their two best biased scores, or by the best"),
    SLUICE_ROUTER(norm_topk_prob)("router.norm_topk_prob", FieldKind::flag, "false",
                                  "divide the K weights by their sum (not when K = 1)"),
    SLUICE_ROUTER(norm_single_expert)("router.norm_single_expert", FieldKind::flag, "false",
                                      "norm_topk_prob divides a single weight too (K = 1)"),
    SLUICE_ROUTER(norm_eps)("router.norm_eps", FieldKind::real, "0", "epsilon of that division"),
    SLUICE_ROUTER(norm_rule)("router.norm_rule", FieldKind::choice, "add",
                             "add: w/(sum+eps); clamp: w/max(sum,eps)"),
    SLUICE_ROUTER(routed_scaling_factor)("router.routed_scaling_factor", FieldKind::real, "1",
                                         "multiplies the routed part, never the shared experts"),
    SLUICE_ROUTER(apply_routed_scale_to_output)(
        "router.apply_routed_scale_to_output", FieldKind::flag, "false",
        "the factor multiplies the combined routed output, not the weights"),
    SLUICE_ROUTER(apply_router_weight_on_input)(
        "router.apply_router_weight_on_input", FieldKind::flag, "false",
        "the weight multiplies the expert's input (K = 1 only)"),
    SLUICE_ROUTER(router_logits_dtype)("router.router_logits_dtype", FieldKind::choice, "f32",
                                       "precision of the logits that the choice sees"),

    SLUICE_EXPERTS(hidden_size)("experts.hidden_size", FieldKind::size, "–", "H: width of a token",
                                size_is_never_neutral),
    SLUICE_EXPERTS(intermediate_size)("experts.intermediate_size", FieldKind::size, "–",
                                      "I: width of an expert", size_is_never_neutral),
    SLUICE_EXPERTS(activation)("experts.activation", FieldKind::choice, "swiglu",
                               "gated: act(gate) * up; the others have no gate"),
    SLUICE_EXPERTS(swiglu_alpha)("experts.swiglu_alpha", FieldKind::real, "1",
                                 "gate' * sigmoid(alpha * gate')"),
    SLUICE_EXPERTS(swiglu_beta)("experts.swiglu_beta", FieldKind::real, "0", "up' + beta"),
    SLUICE_EXPERTS(swiglu_limit)("experts.swiglu_limit", FieldKind::real, "inf",
                                 "gate' = min(gate, limit), up' = clamp(up, ±limit)"),
    SLUICE_EXPERTS(gate_up_bias)("experts.gate_up_bias", FieldKind::tensor_flag, "false",
                                 "bias [E, 2I] of GEMM 1, rows in gate_up_order"),
    SLUICE_EXPERTS(down_bias)("experts.down_bias", FieldKind::tensor_flag, "false",
                              "bias [E, H] of GEMM 2, weighted by the slot's weight, once"),
    SLUICE_EXPERTS(gate_up_order)("experts.gate_up_order", FieldKind::choice, "gate_up",
                                  "row order of GEMM 1 in the checkpoint"),
    SLUICE_EXPERTS(weight_format)("experts.weight_format", FieldKind::choice, "bf16",
                                  "encoding of the experts' weights"),
    SLUICE_EXPERTS(activation_format)("experts.activation_format", FieldKind::choice, "bf16",
                                      "what the inputs of both GEMMs are rounded to"),

    SLUICE_LAYER(num_shared_experts)("layer.num_shared_experts", FieldKind::integer, "0",
                                     "dense experts added to the routed output, unscaled"),
    SLUICE_LAYER(shared_intermediate_size)(
        "layer.shared_intermediate_size", FieldKind::integer, "num_shared_experts * I",
        "width of the shared block over all shared experts", has_default_shared_width),
    SLUICE_LAYER(shared_expert_gate)("layer.shared_expert_gate", FieldKind::tensor_flag, "false",
                                     "w [H]: sigmoid(w.x) multiplies the shared output"),
    SLUICE_LAYER(local_expert_offset)("layer.local_expert_offset", FieldKind::integer, "0",
                                      "first global expert that this rank computes"),
    SLUICE_LAYER(num_local_experts)("layer.num_local_experts", FieldKind::integer, "E",
                                    "experts that this rank computes", holds_all_experts),
    SLUICE_LAYER(expert_map)("layer.expert_map", FieldKind::list, "none",
                             "global expert -> local or -1, in place of offset and count"),
    SLUICE_LAYER(tp_rank)("layer.tp_rank", FieldKind::integer, "0", "this rank's slice of I"),
    SLUICE_LAYER(tp_size)("layer.tp_size", FieldKind::integer, "1", "ranks that I is split over"),
    SLUICE_LAYER(output_dtype)("layer.output_dtype", FieldKind::choice, "as_input",
                               "dtype of the output"),
};

#undef SLUICE_ROUTER
#undef SLUICE_EXPERTS
#undef SLUICE_LAYER

// Calls visit(row) for every row, in registry order.
template <typename Visit>
void for_each_row(Visit&& visit) {
  std::apply([&](const auto&... rows) { (visit(rows), ...); }, kRegistry);
}

}  // namespace sluice
