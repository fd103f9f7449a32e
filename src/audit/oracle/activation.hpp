// The activations with their error, and rounding to the activation format.
#pragma once

#include <sluice/spec.hpp>

#include "audit/oracle/approx.hpp"

namespace sluice::auditing {

// `plain`: a shared expert's, without alpha, beta and limit.
Approx activation(const ExpertSpec& experts, bool plain, const Approx& gate, const Approx& up);

Approx sigmoid(const Approx& x);

// A value of the format and by how much a correct rounding of the approximation may differ from
// it. f32: the value itself with its error.
Approx round_to_format(ActivationFormat format, const Approx& x);

// A value that may or may not have been rounded to the format: either is within the error.
Approx perhaps_rounded(ActivationFormat format, const Approx& x);

}  // namespace sluice::auditing
