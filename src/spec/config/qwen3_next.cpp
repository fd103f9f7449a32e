#include "spec/config/common.hpp"
#include "spec/config/family_readers.hpp"

namespace sluice::config {

MoeSpec read_qwen3_next(const ConfigReader& config) {
  MoeSpec spec = read_qwen3_moe(config);
  const std::int64_t width = config.integer("shared_expert_intermediate_size", 0, kLargest);
  if (width > 0) {
    set_shared(spec, 1, width);
    spec.layer.shared_expert_gate = true;
  }
  return spec;
}

}  // namespace sluice::config
