// The regimes, by what they strain; regimes.cpp has the list with a meaning for each.
#pragma once

#include "audit/cases/regime.hpp"

namespace sluice::auditing {

// Logits and biases far from zero, in a narrow band, or no numbers at all.
std::optional<Case> make_all_negative(const SpecSource& source, std::uint64_t seed);
std::optional<Case> make_huge_logits(const SpecSource& source, std::uint64_t seed);
std::optional<Case> make_large_bias(const SpecSource& source, std::uint64_t seed);
std::optional<Case> make_narrow_bias(const SpecSource& source, std::uint64_t seed);
std::optional<Case> make_non_finite(const SpecSource& source, std::uint64_t seed);

// Who is chosen: ties, one expert for all, all experts, hundreds of them.
std::optional<Case> make_ties(const SpecSource& source, std::uint64_t seed);
std::optional<Case> make_near_ties(const SpecSource& source, std::uint64_t seed);
std::optional<Case> make_hot_expert(const SpecSource& source, std::uint64_t seed);
std::optional<Case> make_every_expert(const SpecSource& source, std::uint64_t seed);
std::optional<Case> make_many_experts(const SpecSource& source, std::uint64_t seed);
std::optional<Case> make_odd_experts(const SpecSource& source, std::uint64_t seed);

// Numbers of tokens, and widths.
std::optional<Case> make_one_token(const SpecSource& source, std::uint64_t seed);
std::optional<Case> make_tiles(const SpecSource& source, std::uint64_t seed);
std::optional<Case> make_wide(const SpecSource& source, std::uint64_t seed);
std::optional<Case> make_deep(const SpecSource& source, std::uint64_t seed);
std::optional<Case> make_many_tokens(const SpecSource& source, std::uint64_t seed);

// Fields in all combinations, gates out of the ordinary, routing from elsewhere, integers.
std::optional<Case> make_random(const SpecSource& source, std::uint64_t seed);
std::optional<Case> make_sparse(const SpecSource& source, std::uint64_t seed);
std::optional<Case> make_large_gates(const SpecSource& source, std::uint64_t seed);
std::optional<Case> make_given(const SpecSource& source, std::uint64_t seed);

}  // namespace sluice::auditing
