// Which instruction sets this build has, which this machine has, and which one is used.
#pragma once

#include <span>
#include <string_view>

#include "kernels/isa.hpp"

namespace sluice {

// Usable on this machine, fastest first: amx_bf16, avx512_bf16, avx512, avx2, generic (always).
std::span<const Isa* const> present_isas();

// Throws Error(user) for an unknown name and Error(unsupported) for one that this machine lacks;
// both messages list what is known and what is present.
const Isa& isa(std::string_view name);

// SLUICE_ISA if set, else the fastest present. Read at every call: weights are packed alike for
// all, so the choice belongs to whoever computes.
const Isa& choose_isa();

// choose_isa() of the first call, for callers on hot paths.
const Isa& default_isa();

}  // namespace sluice
