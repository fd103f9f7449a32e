// Consecutive tokens of a call, as a call of its own.
#pragma once

#include <cstdint>

#include <sluice/backend.hpp>

namespace sluice {

// Tokens [first, first + count) of every tensor that is given. A token_count, which counts the
// whole call's, stays behind.
ForwardInput token_rows(const ForwardInput& input, std::int64_t first, std::int64_t count);
ForwardOutput token_rows(const ForwardOutput& output, std::int64_t first, std::int64_t count);

}  // namespace sluice
