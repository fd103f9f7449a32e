#include "spec/config/common.hpp"
#include "spec/config/family_readers.hpp"

namespace sluice::config {

// Two dialects: Moonshot's released keys first, then those of transformers' own class.
MoeSpec read_kimi_linear(const ConfigReader& config) {
  MoeSpec spec =
      read_sizes(config, {"num_experts", "num_local_experts"},
                 {"num_experts_per_token", "num_experts_per_tok"}, "moe_intermediate_size");
  const ConfigKey groups = {"num_expert_group", "n_group"};
  const std::int64_t n_group = config.find_integer(groups, 1, kLargest).value_or(1);
  const std::int64_t topk_group = n_group == 1
                                      ? config.find_integer("topk_group", 1, kLargest).value_or(1)
                                      : config.integer("topk_group", 1, kLargest);
  if (!config.find_flag("use_grouped_topk").value_or(true) && n_group > 1) {
    config.refuse(groups, "1, since use_grouped_topk is false");
  }
  set_v3(spec.router, config.flag({"moe_renormalize", "norm_topk_prob"}), n_group, topk_group,
         read_factor(config, "routed_scaling_factor"));
  const ConfigKey activation = "moe_router_activation_func";
  const std::string score_func = config.find_text(activation).value_or("sigmoid");
  if (score_func == "softmax") {
    spec.router.score_func = ScoreFunc::softmax;
  } else if (score_func != "sigmoid") {
    config.refuse(activation, "sigmoid, softmax");
  }
  set_shared(
      spec,
      config.find_integer({"num_shared_experts", "n_shared_experts"}, 0, kLargest).value_or(0));
  return spec;
}

}  // namespace sluice::config
