// Is there memory for what is about to be measured? Asked before any of it is taken.
#pragma once

#include <span>
#include <string_view>

#include "moe_bench.hpp"

namespace sluice::bench {

struct MemoryPart {
  std::string_view what;
  double bytes = 0.0;  // a double: sizes are the caller's, and products of them overflow
};

// Throws Error(user) with every part, their sum and what is there, where the sum is more. `memory`
// says which: "memory", "memory of the GPU".
void require_memory(const Shape& shape, std::string_view memory, std::span<const MemoryPart> parts,
                    double available);

// The host's, for a benchmark on the CPU.
void require_host_memory(const MoeBenchOptions& options, bool with_peer, int workers);

// Parts of what several benchmarks hold.
double weight_bytes(const Shape& shape);
double comparison_bytes(const Shape& shape, int workers);

}  // namespace sluice::bench
