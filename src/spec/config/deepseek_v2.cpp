#include "spec/config/common.hpp"
#include "spec/config/family_readers.hpp"

namespace sluice::config {

MoeSpec read_deepseek_v2(const ConfigReader& config) {
  MoeSpec spec = read_sizes(config, {"n_routed_experts", "num_experts"}, "num_experts_per_tok",
                            "moe_intermediate_size");
  config.require_text("scoring_func", "softmax");
  config.require_flag("mlp_bias", false);
  // The released code divides by the sum in place of multiplying by the factor; transformers
  // ignores the key. No released checkpoint sets it.
  config.require_flag("norm_topk_prob", false);
  spec.router.score_func = ScoreFunc::softmax;
  spec.router.routed_scaling_factor = read_factor(config, "routed_scaling_factor");
  const std::string method = config.find_text("topk_method").value_or("greedy");
  if (method == "group_limited_greedy") {
    spec.router.n_group = config.integer("n_group", 1, kLargest);
    spec.router.topk_group = config.integer("topk_group", 1, kLargest);
    spec.router.group_score = GroupScore::max;
  } else if (method == "greedy") {
    // Groups that the file may describe are not used.
    config.find_integer("n_group", 1, kLargest);
    config.find_integer("topk_group", 1, kLargest);
  } else {
    config.refuse("topk_method", "greedy, group_limited_greedy");
  }
  set_shared(spec, config.find_integer("n_shared_experts", 0, kLargest).value_or(0));
  return spec;
}

}  // namespace sluice::config
