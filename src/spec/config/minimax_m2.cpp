#include "spec/config/common.hpp"
#include "spec/config/family_readers.hpp"

namespace sluice::config {

MoeSpec read_minimax_m2(const ConfigReader& config) {
  MoeSpec spec = read_sizes(config, {"num_local_experts", "num_experts"}, "num_experts_per_tok",
                            "intermediate_size");
  config.require_text("scoring_func", "sigmoid");
  config.require_flag("norm_topk_prob", true);
  config.require_integer("shared_intermediate_size", 0);
  spec.router.score_func = ScoreFunc::sigmoid;
  spec.router.e_score_correction_bias = config.find_flag("use_routing_bias").value_or(true);
  set_norm(spec.router, 0.0);
  return spec;
}

}  // namespace sluice::config
