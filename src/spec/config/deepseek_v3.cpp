#include "spec/config/common.hpp"
#include "spec/config/family_readers.hpp"

namespace sluice::config {

MoeSpec read_deepseek_v3(const ConfigReader& config) {
  MoeSpec spec = read_sizes(config, {"n_routed_experts", "num_local_experts"},
                            "num_experts_per_tok", "moe_intermediate_size");
  config.require_text("scoring_func", "sigmoid");
  config.require_text("topk_method", "noaux_tc");
  config.require_flag("mlp_bias", false);
  // transformers' defaults are DeepSeek-V3's own 8 and 4: a Kimi-K2 without its keys would be
  // routed in groups. So they are required.
  set_v3(spec.router, config.flag("norm_topk_prob"), config.integer("n_group", 1, kLargest),
         config.integer("topk_group", 1, kLargest), read_factor(config, "routed_scaling_factor"));
  set_shared(spec, config.find_integer("n_shared_experts", 0, kLargest).value_or(0));
  return spec;
}

}  // namespace sluice::config
