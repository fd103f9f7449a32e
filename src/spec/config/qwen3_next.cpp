#include "spec/config/common.hpp"
#include "spec/config/family_readers.hpp"

namespace sluice::config {

MoeSpec read_qwen3_next(const Keys& keys) {
  MoeSpec spec = read_qwen3_moe(keys);
  const std::int64_t width = keys.integer("shared_expert_intermediate_size", 0);
  if (width > 0) {
    set_shared(spec, 1, width);
    spec.layer.shared_expert_gate = true;
  }
  return spec;
}

}  // namespace sluice::config
