#include "spec/config/common.hpp"
#include "spec/config/family_readers.hpp"

namespace sluice::config {

MoeSpec read_ernie4_5_moe(const ConfigReader& config) {
  MoeSpec spec = read_sizes(config, {"moe_num_experts", "num_experts"},
                            {"moe_k", "num_experts_per_tok"}, "moe_intermediate_size");
  config.require_text("moe_gate_act", "softmax");
  config.require_flag("use_bias", false);
  config.require_flag("norm_topk_prob", true);
  spec.router.score_func = ScoreFunc::softmax;
  spec.router.e_score_correction_bias = config.find_flag("moe_use_aux_free").value_or(true);
  constexpr double kNormMin = 1e-12;  // the class's default; released configs leave it out
  set_norm(spec.router, config.find_real("moe_norm_min", 0.0, 1.0).value_or(kNormMin),
           NormRule::clamp);
  set_shared(spec, config.find_integer("moe_num_shared_experts", 0, kLargest).value_or(0));
  return spec;
}

}  // namespace sluice::config
