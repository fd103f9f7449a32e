#include "spec/config/common.hpp"
#include "spec/config/family_readers.hpp"

namespace sluice::config {

MoeSpec read_glm4_moe(const ConfigReader& config) {
  MoeSpec spec = read_sizes(config, {"n_routed_experts", "num_local_experts"},
                            "num_experts_per_tok", "moe_intermediate_size");
  config.require_text("scoring_func", "sigmoid");
  config.require_text("topk_method", "noaux_tc");
  set_v3(spec.router, config.flag("norm_topk_prob"),
         config.find_integer("n_group", 1, kLargest).value_or(1),
         config.find_integer("topk_group", 1, kLargest).value_or(1),
         read_factor(config, "routed_scaling_factor"));
  set_shared(spec, config.find_integer("n_shared_experts", 0, kLargest).value_or(0));
  return spec;
}

}  // namespace sluice::config
