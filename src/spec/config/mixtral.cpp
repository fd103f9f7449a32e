#include "spec/config/common.hpp"
#include "spec/config/family_readers.hpp"

namespace sluice::config {

MoeSpec read_mixtral(const ConfigReader& config) {
  MoeSpec spec = read_sizes(config, {"num_local_experts", "num_experts"}, "num_experts_per_tok",
                            "intermediate_size");
  config.require_flag("norm_topk_prob", true);
  set_renormalised_softmax(spec.router);
  return spec;
}

}  // namespace sluice::config
