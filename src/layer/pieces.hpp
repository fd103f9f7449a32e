// A call cut into pieces of consecutive tokens.
#pragma once

#include <cstdint>

#include <sluice/backend.hpp>

namespace sluice {

// The most tokens, `tokens` at most, whose workspace fits into `limit` bytes. Throws Error(user) if
// not even one fits.
std::int64_t piece_tokens(const Experts& experts, std::int64_t tokens, std::size_t limit);

// Tokens [first, first + count) of every tensor that is given.
ForwardInput piece_of(const ForwardInput& input, std::int64_t first, std::int64_t count);
ForwardOutput piece_of(const ForwardOutput& output, std::int64_t first, std::int64_t count);

}  // namespace sluice
