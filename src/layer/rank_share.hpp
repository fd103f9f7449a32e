// What one rank of an expert-parallel group computes.
#pragma once

#include <sluice/collective.hpp>
#include <sluice/spec.hpp>
#include <sluice/weights.hpp>

namespace sluice {

struct RankShare {
  MoeSpec spec;
  MoeWeights weights;
};

// The sum over ranks must contain everything exactly once: every routed expert by the one rank
// that holds it (tensor-parallel slices counted as parts), the shared experts by rank 0 alone.
// Other ranks therefore compute a spec without shared experts, and partial outputs stay fp32
// until they are summed. One rank: spec and weights as given.
//
// Calls collective.sum once, on every rank, to see that the ranks' experts add up; throws
// Error(user) naming the first expert that nobody or more than one rank computes.
RankShare rank_share(const MoeSpec& spec, const MoeWeights& weights, Collective& collective);

}  // namespace sluice
