// Runs the routed and the shared part of a layer apart, for faults that treat them differently.
#pragma once

#include <vector>

#include "audit/faults/fault.hpp"

namespace sluice::auditing {

struct Parts {
  std::vector<float> routed;  // [tokens, H]
  std::vector<float> shared;  // [tokens, H]
};

// The inner backend runs twice: as it is, and with every routing weight at zero, which leaves the
// shared part. Optional outputs of the call are written once, by the first run.
Parts run_parts(const Call& call);

void write_output(const Call& call, const std::vector<float>& values);

}  // namespace sluice::auditing
