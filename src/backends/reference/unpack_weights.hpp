// From a checkpoint's tensors, in any format and row order, to the reference's fp32 matrices.
#pragma once

#include <vector>

#include <sluice/weights.hpp>

#include "backends/reference/expert.hpp"

namespace sluice::reference {

std::vector<ExpertWeights> unpack_experts(const MoeSpec& spec, const MoeWeights& weights);
ExpertWeights unpack_shared(const MoeSpec& spec, const MoeWeights& weights);
// A bias or gate vector; empty when the tensor is not given.
std::vector<float> unpack_vector(const TensorView& view);

}  // namespace sluice::reference
