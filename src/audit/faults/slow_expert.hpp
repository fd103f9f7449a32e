// One expert in double with the activation left open: for faults inside it, which no edit of
// tensors can express.
#pragma once

#include <functional>
#include <vector>

#include "audit/faults/fault.hpp"

namespace sluice::auditing {

// (spec, gate, up) -> h; `up` is 0 for kinds without a gate.
using ActivationModel = std::function<double(const ExpertSpec&, double gate, double up)>;

// The activation of docs/semantics.md §2.
double plain_activation(const ExpertSpec& experts, double gate, double up);

// Routed part by the model, shared part by the inner backend.
MakeFault expert_fault(ActivationModel activation);

}  // namespace sluice::auditing
