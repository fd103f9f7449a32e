#include "spec/config/common.hpp"
#include "spec/config/family_readers.hpp"

namespace sluice::config {

MoeSpec read_deepseek_v2(const Keys& keys) {
  MoeSpec spec = read_sizes(keys, {"n_routed_experts", "num_experts"}, "num_experts_per_tok",
                            "moe_intermediate_size");
  keys.only_text("scoring_func", "softmax");
  keys.only_flag("mlp_bias", false);
  // The released code divides by the sum in place of multiplying by the factor; transformers
  // ignores the key. No released checkpoint sets it.
  keys.only_flag("norm_topk_prob", false);
  spec.router.score_func = ScoreFunc::softmax;
  spec.router.routed_scaling_factor = keys.real("routed_scaling_factor", -1e30);
  const std::string method = keys.find_text("topk_method").value_or("greedy");
  const auto n_group = keys.find_integer("n_group", 1);
  const auto topk_group = keys.find_integer("topk_group", 1);
  if (method == "group_limited_greedy") {
    spec.router.n_group = n_group ? *n_group : keys.integer("n_group");
    spec.router.topk_group = topk_group ? *topk_group : keys.integer("topk_group");
    spec.router.group_score = GroupScore::max;
  } else if (method != "greedy") {
    keys.refuse("topk_method", "greedy and group_limited_greedy are supported");
  }
  set_shared(spec, keys.find_integer("n_shared_experts", 0).value_or(0));
  return spec;
}

}  // namespace sluice::config
