// What MoeLayer::forward requires of its arguments, checked before anything is computed.
#pragma once

#include <sluice/backend.hpp>

namespace sluice {

enum class Entry { router_weight, router_logits, given_routing };

// Throws Error(user) that names the tensor, shows what was given and what is needed and, for given
// routing, the first offending token. `output_dtype` is what the layer will write.
Entry check_forward(const MoeSpec& spec, DType output_dtype, const ForwardInput& input,
                    const ForwardOutput& output);

}  // namespace sluice
