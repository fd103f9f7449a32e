// A layer's matrices as one list: the local experts in local order, then the shared experts, which
// compute as one more expert that every token visits.
#pragma once

#include <vector>

#include <sluice/weights.hpp>

namespace sluice {

// Where one block's matrices stand in the checkpoint.
struct BlockTensors {
  TensorView fused;     // [2 width, H] or, without a gate, [width, H]
  TensorView gate, up;  // in place of fused
  TensorView down;      // [H, width]
};

std::vector<BlockTensors> block_tensors(const MoeSpec& spec, const MoeWeights& weights);

}  // namespace sluice
