#include "formats/block_tensors.hpp"

#include <cstddef>

namespace sluice {
namespace {

TensorView at(const ExpertMatrices& matrices, std::size_t index) {
  return matrices.empty() ? TensorView{} : matrices[index];
}

}  // namespace

std::vector<BlockTensors> block_tensors(const MoeSpec& spec, const MoeWeights& weights) {
  std::vector<BlockTensors> blocks;
  for (std::size_t e = 0; e < weights.down_proj.size(); ++e) {
    blocks.push_back({at(weights.gate_up_proj, e), at(weights.gate_proj, e), at(weights.up_proj, e),
                      weights.down_proj[e]});
  }
  if (spec.layer.num_shared_experts > 0) {
    blocks.push_back({weights.shared_gate_up_proj, weights.shared_gate_proj, weights.shared_up_proj,
                      weights.shared_down_proj});
  }
  return blocks;
}

}  // namespace sluice
