#include "spec/config/common.hpp"

namespace sluice::config {
namespace {

Activation read_activation(const Keys& keys) {
  const std::string name = keys.find_text("hidden_act").value_or("silu");
  if (name == "silu" || name == "swish") return Activation::swiglu;
  if (name == "gelu") return Activation::geglu;
  if (name == "gelu_pytorch_tanh" || name == "gelu_new") return Activation::geglu_tanh;
  keys.refuse("hidden_act",
              "silu, swish, gelu, gelu_pytorch_tanh and gelu_new are supported for gated experts");
}

}  // namespace

MoeSpec read_sizes(const Keys& keys, const Key& num_experts, const Key& top_k,
                   const Key& intermediate_size) {
  MoeSpec spec;
  spec.router.num_experts = keys.integer(num_experts);
  spec.router.top_k = keys.integer(top_k);
  spec.experts.hidden_size = keys.integer("hidden_size");
  spec.experts.intermediate_size = keys.integer(intermediate_size);
  spec.experts.activation = read_activation(keys);
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
  router.norm_eps = eps;
  router.norm_rule = rule;
}

void set_renormalised_softmax(RouterSpec& router) {
  router.score_func = ScoreFunc::softmax;
  if (router.top_k == 1) {
    router.score_order = ScoreOrder::after_topk;
  } else {
    set_norm(router, 0.0);
  }
}

void refuse_single_expert(const Keys& keys, const Key& top_k, const RouterSpec& router) {
  if (router.top_k == 1) {
    keys.refuse(top_k, "this family divides the one weight by itself, which a spec cannot say");
  }
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
