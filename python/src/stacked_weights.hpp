// A layer's weights as one tensor per name, experts stacked: the inverse of NamedWeights.
#pragma once

#include <map>
#include <string>

#include <sluice/weights.hpp>

#include "audit/owned_tensor.hpp"

namespace sluice::python {

using StackedWeights = std::map<std::string, auditing::OwnedTensor, std::less<>>;

// Copies. Separate gate and up matrices become gate_up_proj, gate rows first, in fp32 where their
// dtypes differ. Tensors that are not given have no entry, but those of a rank without experts are
// there, [0, rows, columns]. All matrices of one list have the same shape (check_weights).
StackedWeights stack_weights(const MoeSpec& spec, const MoeWeights& weights);

}  // namespace sluice::python
