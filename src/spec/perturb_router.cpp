#include <algorithm>

#include "spec/draw.hpp"
#include "spec/perturb.hpp"

namespace sluice {
namespace {

// After softmax over the chosen nothing is left to normalise; raw logits may add up to zero.
bool can_normalise(const RouterSpec& router) {
  if (router.score_func == ScoreFunc::none) return false;
  return router.score_order != ScoreOrder::after_topk || router.score_func != ScoreFunc::softmax;
}

}  // namespace

bool perturb_score_func(MoeSpec& spec, std::uint64_t seed) {
  Draw draw(seed);
  spec.router.score_func =
      draw.one_of(ScoreFunc::sigmoid, ScoreFunc::sqrt_softplus, ScoreFunc::none);
  if (spec.router.score_func != ScoreFunc::none) return true;
  // Raw logits add up to anything, zero included, and are the same before and after the choice.
  return !spec.router.norm_topk_prob && spec.router.score_order == ScoreOrder::before_topk;
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

namespace {

// Groups of two or more experts. How many must stay for K, if not all: 0, if they do not fit.
std::int64_t groups_needed(const RouterSpec& router, std::int64_t groups) {
  const std::int64_t size = router.num_experts / groups;
  if (router.num_experts % groups != 0 || size < 2) return 0;
  const std::int64_t needed = (router.top_k + size - 1) / size;
  return needed < groups ? needed : 0;
}

}  // namespace

bool perturb_n_group(MoeSpec& spec, std::uint64_t seed) {
  Draw draw(seed);
  constexpr std::int64_t kGroups[] = {2, 3, 4, 8};
  const std::int64_t first = draw.integer(0, 3);
  for (std::int64_t i = 0; i < 4; ++i) {
    const std::int64_t groups = kGroups[(first + i) % 4];
    const std::int64_t needed = groups_needed(spec.router, groups);
    if (needed == 0) continue;
    spec.router.n_group = groups;
    spec.router.topk_group = needed;
    return true;
  }
  return false;
}

// Groups of which more than one stays, and not all.
bool perturb_topk_group(MoeSpec& spec, std::uint64_t seed) {
  Draw draw(seed);
  for (const std::int64_t groups :
       {draw.one_of<std::int64_t>(4, 8), std::int64_t{4}, std::int64_t{3}, std::int64_t{8}}) {
    const std::int64_t needed = groups_needed(spec.router, groups);
    if (needed == 0) continue;
    spec.router.n_group = groups;
    spec.router.topk_group = draw.integer(std::max<std::int64_t>(needed, 2), groups - 1);
    return true;
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
  if (!can_normalise(spec.router)) return false;
  spec.router.norm_topk_prob = true;
  return true;
}

bool perturb_norm_single_expert(MoeSpec& spec, std::uint64_t) {
  if (spec.router.top_k != 1 || !can_normalise(spec.router)) return false;
  spec.router.norm_topk_prob = true;
  spec.router.norm_single_expert = true;
  return true;
}

bool perturb_norm_eps(MoeSpec& spec, std::uint64_t seed) {
  if (spec.router.top_k == 1 || spec.router.score_func == ScoreFunc::none) return false;
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
