// Faults that write outside the buffers they are given.
#pragma once

#include <string_view>

namespace sluice::auditing {

// The audit fences its buffers, so that such a fault shows and does no harm. Everywhere else it
// would damage what lives beside them.
bool writes_outside_its_buffers(std::string_view fault);

}  // namespace sluice::auditing
