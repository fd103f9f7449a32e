#include "spec/config/common.hpp"

namespace sluice::config {
namespace {

Activation read_activation(const ConfigReader& config) {
  const std::string name = config.find_text("hidden_act").value_or("silu");
  if (name == "silu" || name == "swish") return Activation::swiglu;
  if (name == "gelu") return Activation::geglu;
  if (name == "gelu_pytorch_tanh" || name == "gelu_new") return Activation::geglu_tanh;
  config.refuse("hidden_act", "silu, swish, gelu, gelu_pytorch_tanh, gelu_new");
}

}  // namespace

double read_factor(const ConfigReader& config, const ConfigKey& key) {
  return config.real(key, -1e30, 1e30);
}

MoeSpec read_sizes(const ConfigReader& config, const ConfigKey& num_experts, const ConfigKey& top_k,
                   const ConfigKey& intermediate_size) {
  MoeSpec spec;
  spec.router.num_experts = config.integer(num_experts, 1, kLargest);
  spec.router.top_k = config.integer(top_k, 1, kLargest);
  spec.experts.hidden_size = config.integer("hidden_size", 1, kLargest);
  spec.experts.intermediate_size = config.integer(intermediate_size, 1, kLargest);
  spec.experts.activation = read_activation(config);
  return spec;
}

void set_shared(MoeSpec& spec, std::int64_t count, std::int64_t width) {
  spec.layer.num_shared_experts = count;
  const bool says_more = count > 0 && width != 0 &&
                         (width % count != 0 || width / count != spec.experts.intermediate_size);
  spec.layer.shared_intermediate_size = says_more ? width : 0;
}

void set_norm(RouterSpec& router, double eps, NormRule rule) {
  router.norm_topk_prob = true;
  router.norm_single_expert = router.top_k == 1;
  router.norm_eps = eps;
  router.norm_rule = rule;
}

void set_renormalised_softmax(RouterSpec& router) {
  router.score_func = ScoreFunc::softmax;
  set_norm(router, 0.0);
}

void set_v3(RouterSpec& router, bool norm_topk_prob, std::int64_t n_group, std::int64_t topk_group,
            double routed_scaling_factor) {
  router.score_func = ScoreFunc::sigmoid;
  router.e_score_correction_bias = true;
  router.n_group = n_group;
  router.topk_group = topk_group;
  router.group_score = GroupScore::sum_of_top2;
  router.routed_scaling_factor = routed_scaling_factor;
  if (norm_topk_prob) set_norm(router, kV3Eps);
}

}  // namespace sluice::config
