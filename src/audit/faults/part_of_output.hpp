// Rows of a call's output, for faults that leave some of them alone.
#pragma once

#include "audit/faults/fault.hpp"

namespace sluice::auditing {

std::byte* output_row(const MutableTensorView& output, std::int64_t token);

// Runs the call, then puts back what rows [first, end) held before.
void leave_unwritten(Call& call, std::int64_t first, std::int64_t end);

}  // namespace sluice::auditing
