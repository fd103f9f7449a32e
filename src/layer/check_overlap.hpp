// Tensors of one call that share memory.
#pragma once

#include <sluice/backend.hpp>

namespace sluice {

// Backends read every input while they write outputs: shared experts run last, a call may go
// through in pieces, and fused kernels write ids before they read the next token's logits. Throws
// Error(user) naming an output and what it overlaps. Shapes and dtypes were checked.
void check_overlap(const ForwardInput& input, const ForwardOutput& output);

}  // namespace sluice
