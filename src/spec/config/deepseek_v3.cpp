#include "spec/config/common.hpp"
#include "spec/config/family_readers.hpp"

namespace sluice::config {

MoeSpec read_deepseek_v3(const Keys& keys) {
  MoeSpec spec = read_sizes(keys, {"n_routed_experts", "num_local_experts"}, "num_experts_per_tok",
                            "moe_intermediate_size");
  keys.only_text("scoring_func", "sigmoid");
  keys.only_text("topk_method", "noaux_tc");
  keys.only_flag("mlp_bias", false);
  // transformers' defaults are DeepSeek-V3's own 8 and 4: a Kimi-K2 without its keys would be
  // routed in groups. So they are required.
  set_v3(spec.router, keys.flag("norm_topk_prob"), keys.integer("n_group"),
         keys.integer("topk_group"), keys.real("routed_scaling_factor", -1e30));
  set_shared(spec, keys.find_integer("n_shared_experts", 0).value_or(0));
  return spec;
}

}  // namespace sluice::config
