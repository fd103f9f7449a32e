// The experts' activations and the roundings between the GEMMs (docs/semantics.md §2), in double.
#pragma once

#include <sluice/spec.hpp>

namespace sluice::reference {

// act(gate) * up with swiglu's constants; for kinds without a gate, act(gate) and `up` is unused.
double activate(const ExpertSpec& experts, double gate, double up);

// To the nearest value of the format, as a tensor of that dtype would hold it.
double round_activation(ActivationFormat format, double value);

}  // namespace sluice::reference
