#include "spec/draw.hpp"
#include "spec/perturb.hpp"

namespace sluice {
namespace {

// Softmax over the chosen: nothing is left to normalise.
bool sums_to_one(const RouterSpec& router) {
  return router.score_order == ScoreOrder::after_topk && router.score_func == ScoreFunc::softmax;
}

}  // namespace

bool perturb_score_func(MoeSpec& spec, std::uint64_t seed) {
  Draw draw(seed);
  spec.router.score_func = draw.one_of(ScoreFunc::sigmoid, ScoreFunc::sqrt_softplus);
  return true;
}

bool perturb_score_order(MoeSpec& spec, std::uint64_t) {
  // Scoring raw logits with `none` is the same before and after.
  if (spec.router.score_func == ScoreFunc::none) return false;
  // The biased score of an expert that was never scored does not exist.
  if (spec.router.weights_from_biased_scores) return false;
  // Renormalised elementwise scores are the same in either order; a softmax alone would be too.
  if (spec.router.score_func == ScoreFunc::softmax && spec.router.norm_topk_prob &&
      spec.router.norm_eps == 0.0) {
    return false;
  }
  spec.router.score_order = ScoreOrder::after_topk;
  return true;
}

bool perturb_router_bias(MoeSpec& spec, std::uint64_t) {
  spec.router.router_bias = true;
  return true;
}

bool perturb_e_score_correction_bias(MoeSpec& spec, std::uint64_t) {
  if (spec.router.top_k >= spec.router.num_experts) return false;  // nothing left to choose
  spec.router.e_score_correction_bias = true;
  return true;
}

bool perturb_weights_from_biased_scores(MoeSpec& spec, std::uint64_t) {
  if (spec.router.score_order != ScoreOrder::before_topk) return false;
  spec.router.e_score_correction_bias = true;
  spec.router.weights_from_biased_scores = true;
  return true;
}

bool perturb_n_group(MoeSpec& spec, std::uint64_t seed) {
  RouterSpec& router = spec.router;
  Draw draw(seed);
  // Groups of two or more, and enough kept groups for K, but not all of them.
  for (std::int64_t groups = draw.integer(2, 4), tried = 0; tried < 3; ++tried) {
    const std::int64_t size = router.num_experts / groups;
    const std::int64_t kept = size > 0 ? (router.top_k + size - 1) / size : groups;
    if (router.num_experts % groups == 0 && size >= 2 && kept < groups) {
      router.n_group = groups;
      router.topk_group = kept;
      return true;
    }
    groups = groups == 4 ? 2 : groups + 1;
  }
  return false;
}

bool perturb_topk_group(MoeSpec& spec, std::uint64_t) {
  RouterSpec& router = spec.router;
  for (const std::int64_t groups : {4, 3, 8}) {
    const std::int64_t size = router.num_experts / groups;
    if (router.num_experts % groups == 0 && size >= 2 && (groups - 1) * size >= router.top_k) {
      router.n_group = groups;
      router.topk_group = groups - 1;
      return true;
    }
  }
  return false;
}

bool perturb_group_score(MoeSpec& spec, std::uint64_t seed) {
  if (spec.router.n_group == 1 && !perturb_n_group(spec, seed)) return false;
  spec.router.group_score = GroupScore::max;
  return true;
}

bool perturb_norm_topk_prob(MoeSpec& spec, std::uint64_t) {
  if (spec.router.top_k == 1) return false;  // norm_single_expert's
  if (sums_to_one(spec.router)) return false;
  spec.router.norm_topk_prob = true;
  return true;
}

bool perturb_norm_single_expert(MoeSpec& spec, std::uint64_t) {
  if (spec.router.top_k != 1 || sums_to_one(spec.router)) return false;
  spec.router.norm_topk_prob = true;
  spec.router.norm_single_expert = true;
  return true;
}

bool perturb_norm_eps(MoeSpec& spec, std::uint64_t seed) {
  if (spec.router.top_k == 1) return false;
  Draw draw(seed);
  spec.router.norm_topk_prob = true;
  spec.router.norm_eps = draw.real(0.05, 0.4);
  return true;
}

bool perturb_norm_rule(MoeSpec& spec, std::uint64_t seed) {
  if (!perturb_norm_eps(spec, seed)) return false;
  spec.router.norm_rule = NormRule::clamp;
  return true;
}

bool perturb_routed_scaling_factor(MoeSpec& spec, std::uint64_t seed) {
  Draw draw(seed);
  spec.router.routed_scaling_factor = draw.real(2.1, 2.9);
  return true;
}

bool perturb_apply_routed_scale_to_output(MoeSpec& spec, std::uint64_t seed) {
  if (spec.router.routed_scaling_factor == 1.0) perturb_routed_scaling_factor(spec, seed);
  spec.router.apply_routed_scale_to_output = true;
  return true;
}

bool perturb_apply_router_weight_on_input(MoeSpec& spec, std::uint64_t) {
  if (spec.router.top_k != 1) return false;
  spec.router.apply_router_weight_on_input = true;
  return true;
}

bool perturb_router_logits_dtype(MoeSpec& spec, std::uint64_t) {
  spec.router.router_logits_dtype = LogitsDType::bf16;
  return true;
}

}  // namespace sluice
