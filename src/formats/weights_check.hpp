// check_weights in two halves, for whoever knows of more that is wrong with the same tensors.
#pragma once

#include <sluice/weights.hpp>

#include "base/problems.hpp"

namespace sluice::formats {

void find_weight_problems(const MoeSpec& spec, const MoeWeights& weights, Problems& problems);

// Throws what check_weights throws, unless there are none.
void raise_weight_problems(const Problems& problems);

}  // namespace sluice::formats
