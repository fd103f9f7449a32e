// The comparison with the definition where weights are drawn on the device: the host repeats them.
#pragma once

#include <vector>

#include <sluice/executor.hpp>
#include <sluice/spec.hpp>

#include "compare_tokens.hpp"
#include "shapes.hpp"

namespace sluice::bench {

// As define_slots and compare_outputs, of a layer whose tensors are those of bench_tensors.hpp.
void check_tokens(const Shape& shape, const MoeSpec& spec, const std::vector<ComputedToken>& tokens,
                  bool slot_outputs_rounded, Executor& executor);

}  // namespace sluice::bench
