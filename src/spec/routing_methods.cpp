#include <algorithm>
#include <array>
#include <vector>

#include <sluice/presets.hpp>

#include "base/fail.hpp"
#include "base/nearest_name.hpp"

namespace sluice {
namespace {

// What a method leaves open: sizes, groups, the factor, the router's bias. Everything else starts
// neutral, so that a method means the same on whatever it is applied to.
RouterSpec formula_of(const RouterSpec& router) {
  RouterSpec fresh;
  fresh.num_experts = router.num_experts;
  fresh.top_k = router.top_k;
  fresh.n_group = router.n_group;
  fresh.topk_group = router.topk_group;
  fresh.routed_scaling_factor = router.routed_scaling_factor;
  fresh.apply_routed_scale_to_output = router.apply_routed_scale_to_output;
  fresh.router_bias = router.router_bias;
  fresh.router_logits_dtype = router.router_logits_dtype;
  return fresh;
}

void scores(RouterSpec& router, ScoreFunc func, ScoreOrder order = ScoreOrder::before_topk) {
  router = formula_of(router);
  router.score_func = func;
  router.score_order = order;
}

void norm(RouterSpec& router, double eps, NormRule rule) {
  router.norm_topk_prob = true;
  router.norm_eps = eps;
  router.norm_rule = rule;
}

// DeepSeek-V3's addend keeps a row of underflowed scores from dividing by zero.
constexpr double kV3Eps = 1e-20;

constexpr std::array<RoutingMethod, 11> kMethods{{
    {"Default", "softmax over all experts, top-k, not renormalised",
     [](RouterSpec& router) { scores(router, ScoreFunc::softmax); }},
    {"Renormalize", "top-k of the logits, softmax over the k chosen",
     [](RouterSpec& router) { scores(router, ScoreFunc::softmax, ScoreOrder::after_topk); }},
    {"DeepSeekV3", "sigmoid, top-k of score + bias inside the best groups, w / (sum + 1e-20)",
     [](RouterSpec& router) {
       scores(router, ScoreFunc::sigmoid);
       router.e_score_correction_bias = true;
       norm(router, kV3Eps, NormRule::add);
     }},
    {"Llama4", "top-1 of the logits, sigmoid, the weight multiplies the expert's input",
     [](RouterSpec& router) {
       scores(router, ScoreFunc::sigmoid, ScoreOrder::after_topk);
       router.apply_router_weight_on_input = true;
     }},
    {"RenormalizeNaive", "softmax over all experts, top-k, w / sum",
     [](RouterSpec& router) {
       scores(router, ScoreFunc::softmax);
       norm(router, 0.0, NormRule::add);
     }},
    {"TopK", "top-k of the logits; the raw logits are the weights",
     [](RouterSpec& router) { scores(router, ScoreFunc::none); }},
    {"SigmoidRenorm", "sigmoid, top-k, w / max(sum, 1e-20)",
     [](RouterSpec& router) {
       scores(router, ScoreFunc::sigmoid);
       norm(router, kV3Eps, NormRule::clamp);
     }},
    {"MiniMax2", "sigmoid, top-k of score + bias, w / (sum + 1e-20); no groups",
     [](RouterSpec& router) {
       scores(router, ScoreFunc::sigmoid);
       router.e_score_correction_bias = true;
       norm(router, kV3Eps, NormRule::add);
     }},
    {"Sigmoid", "sigmoid, top-k, not renormalised",
     [](RouterSpec& router) { scores(router, ScoreFunc::sigmoid); }},
    {"TopKSigmoid", "top-k of the logits, sigmoid of the k chosen",
     [](RouterSpec& router) { scores(router, ScoreFunc::sigmoid, ScoreOrder::after_topk); }},
    {"DeepSeekV4", "sqrt(softplus), top-k of score + bias, w / (sum + 1e-20)",
     [](RouterSpec& router) {
       scores(router, ScoreFunc::sqrt_softplus);
       router.e_score_correction_bias = true;
       norm(router, kV3Eps, NormRule::add);
     }},
}};

}  // namespace

std::span<const RoutingMethod> routing_methods() { return kMethods; }

const RoutingMethod& routing_method(std::string_view name) {
  std::vector<std::string_view> known;
  for (const RoutingMethod& method : kMethods) {
    if (method.name == name) return method;
    known.push_back(method.name);
  }
  fail(ErrorKind::user, "there is no routing method \"{}\"{}; known: {}", name,
       did_you_mean(name, known), fmt::join(known, ", "));
}

}  // namespace sluice
