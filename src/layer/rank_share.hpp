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

// The sum over ranks must contain everything exactly once: every slice of every routed expert by
// the one rank that holds it, the shared experts by the lowest rank whose spec has them (with
// tensor parallelism: the lowest of each tp_rank). The other ranks compute a spec without shared
// experts and need no shared tensors. Partial outputs stay fp32 until they are summed. One rank:
// spec and weights as given.
//
// A collective call: every rank must make it. Throws Error(user), on every rank, naming the first
// expert that no rank or more than one rank computes.
RankShare rank_share(const MoeSpec& spec, const MoeWeights& weights, Collective& collective);

}  // namespace sluice
