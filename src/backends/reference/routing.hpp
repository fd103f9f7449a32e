// From one token's logits to its K experts and their weights (docs/semantics.md §1), in double.
#pragma once

#include <cstdint>
#include <span>

#include <sluice/spec.hpp>

namespace sluice::reference {

struct RouterTensors {
  std::span<const float> router_bias;              // [E], empty when the spec has none
  std::span<const float> e_score_correction_bias;  // [E], likewise
};

struct RoutingScratch {
  std::span<double> scores;        // [E]
  std::span<double> choice;        // [E] what the choice compares
  std::span<double> group_scores;  // [n_group]
  std::span<std::int64_t> order;   // [E]
};

// `logits` [E] come in as given and leave as the choice sees them: with router_bias, rounded to
// router_logits_dtype. `ids` and `weights` are [K], best first.
void route_token(const RouterSpec& router, const RouterTensors& tensors, std::span<double> logits,
                 const RoutingScratch& scratch, std::span<std::int64_t> ids,
                 std::span<double> weights);

}  // namespace sluice::reference
