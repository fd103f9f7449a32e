#include "spec/config/common.hpp"
#include "spec/config/family_readers.hpp"

namespace sluice::config {

// Two dialects: Moonshot's released keys first, then those of transformers' own class.
MoeSpec read_kimi_linear(const Keys& keys) {
  MoeSpec spec =
      read_sizes(keys, {"num_experts", "num_local_experts"},
                 {"num_experts_per_token", "num_experts_per_tok"}, "moe_intermediate_size");
  const Key groups = {"num_expert_group", "n_group"};
  const std::int64_t n_group = keys.find_integer(groups, 1).value_or(1);
  const std::int64_t topk_group =
      n_group == 1 ? keys.find_integer("topk_group", 1).value_or(1) : keys.integer("topk_group");
  if (!keys.find_flag("use_grouped_topk").value_or(true) && n_group > 1) {
    keys.refuse(groups, "use_grouped_topk is false, which means one group");
  }
  set_v3(spec.router, keys.flag({"moe_renormalize", "norm_topk_prob"}), n_group, topk_group,
         keys.real("routed_scaling_factor", -1e30));
  const Key activation = "moe_router_activation_func";
  const std::string score_func = keys.find_text(activation).value_or("sigmoid");
  if (score_func == "softmax") {
    spec.router.score_func = ScoreFunc::softmax;
  } else if (score_func != "sigmoid") {
    keys.refuse(activation, "sigmoid and softmax are supported");
  }
  set_shared(spec, keys.find_integer({"num_shared_experts", "n_shared_experts"}, 0).value_or(0));
  return spec;
}

}  // namespace sluice::config
