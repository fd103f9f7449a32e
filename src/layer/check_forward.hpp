// What MoeLayer::forward requires of its arguments, checked before anything is computed.
#pragma once

#include <sluice/backend.hpp>

namespace sluice {

enum class Entry { router_weight, router_logits, given_routing };

// Throws Error(user) that names the tensor, shows what was given and what is needed and, for given
// routing, the first offending token. `output_dtype` is what the layer will write.
Entry check_forward(const MoeSpec& spec, DType output_dtype, const ForwardInput& input,
                    const ForwardOutput& output);

// The rows that are there: token_count's, where it is on the host, else all. After check_forward.
std::int64_t counted_tokens(const ForwardInput& input);

}  // namespace sluice
