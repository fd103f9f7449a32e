// How many tokens go through at once.
#pragma once

#include <cstdint>

#include <sluice/backend.hpp>

namespace sluice {

// The most tokens, `tokens` at most, whose workspace fits into `limit` bytes. Throws Error(user) if
// not even one fits.
std::int64_t piece_tokens(const Experts& experts, std::int64_t tokens, std::size_t limit);

}  // namespace sluice
