#include "spec/config/common.hpp"
#include "spec/config/family_readers.hpp"

namespace sluice::config {

MoeSpec read_ernie4_5_moe(const Keys& keys) {
  const Key top_k = {"moe_k", "num_experts_per_tok"};
  MoeSpec spec =
      read_sizes(keys, {"moe_num_experts", "num_experts"}, top_k, "moe_intermediate_size");
  refuse_single_expert(keys, top_k, spec.router);
  keys.only_text("moe_gate_act", "softmax");
  keys.only_flag("use_bias", false);
  keys.only_flag("norm_topk_prob", true);
  spec.router.score_func = ScoreFunc::softmax;
  spec.router.e_score_correction_bias = keys.find_flag("moe_use_aux_free").value_or(true);
  constexpr double kNormMin = 1e-12;  // the class's default; released configs leave it out
  set_norm(spec.router, keys.find_real("moe_norm_min", 0.0).value_or(kNormMin), NormRule::clamp);
  set_shared(spec, keys.find_integer("moe_num_shared_experts", 0).value_or(0));
  return spec;
}

}  // namespace sluice::config
