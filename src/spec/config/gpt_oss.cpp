#include "spec/config/common.hpp"
#include "spec/config/family_readers.hpp"

namespace sluice::config {

// alpha, beta and the default limit are constants of the model's code.
MoeSpec read_gpt_oss(const ConfigReader& config) {
  MoeSpec spec = read_sizes(config, {"num_local_experts", "num_experts"},
                            {"num_experts_per_tok", "experts_per_token"}, "intermediate_size");
  config.require_text("hidden_act", "silu");
  spec.router.score_func = ScoreFunc::softmax;
  spec.router.score_order = ScoreOrder::after_topk;
  spec.router.router_bias = true;
  spec.experts.swiglu_alpha = 1.702;
  spec.experts.swiglu_beta = 1.0;
  spec.experts.swiglu_limit = config.find_real("swiglu_limit", 0.0, 1e30).value_or(7.0);
  spec.experts.gate_up_bias = true;
  spec.experts.down_bias = true;
  spec.experts.gate_up_order = GateUpOrder::interleaved;
  return spec;
}

}  // namespace sluice::config
