#include "spec/config/common.hpp"
#include "spec/config/family_readers.hpp"

namespace sluice::config {

MoeSpec read_qwen3_moe(const ConfigReader& config) {
  MoeSpec spec = read_sizes(config, {"num_experts", "num_local_experts"}, "num_experts_per_tok",
                            "moe_intermediate_size");
  spec.router.score_func = ScoreFunc::softmax;
  if (config.flag("norm_topk_prob")) set_renormalised_softmax(spec.router);
  return spec;
}

}  // namespace sluice::config
