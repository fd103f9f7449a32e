#include "spec/config/common.hpp"
#include "spec/config/family_readers.hpp"

namespace sluice::config {

MoeSpec read_glm4_moe(const Keys& keys) {
  MoeSpec spec = read_sizes(keys, {"n_routed_experts", "num_local_experts"}, "num_experts_per_tok",
                            "moe_intermediate_size");
  keys.only_text("scoring_func", "sigmoid");
  keys.only_text("topk_method", "noaux_tc");
  set_v3(spec.router, keys.flag("norm_topk_prob"), keys.find_integer("n_group", 1).value_or(1),
         keys.find_integer("topk_group", 1).value_or(1), keys.real("routed_scaling_factor", -1e30));
  set_shared(spec, keys.find_integer("n_shared_experts", 0).value_or(0));
  return spec;
}

}  // namespace sluice::config
