// A router with switches: each one is a bug that somebody shipped. With all switches off it is the
// router of docs/semantics.md §1, written apart from src/routing and from the oracle.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <sluice/spec.hpp>

namespace sluice::auditing {

struct RouterFaults {
  // scores
  bool bf16_logits = false;
  bool tanh_sigmoid = false;        // 0.5 (1 + tanh(x/2)) in fp32
  bool softmax_overflows = false;   // exp of the logits themselves, in fp32
  bool no_negative_scores = false;  // top-k starts from 0: negative candidates never win
  // choosing
  bool bf16_bias = false;
  bool bias_in_weights = false;
  bool score_by_subtraction = false;  // weight = (s + b) - b in fp32
  bool group_score_without_bias = false;
  bool group_score_top1_for_top2 = false;
  bool group_mask_zero = false;
  bool tie_higher_id = false;
  double tie_epsilon = 0.0;  // scores + id * epsilon
  bool nan_repeats_expert = false;
  bool nan_wins = false;
  int extra_slots = 0;  // chooses this many more and keeps the last top_k
  bool off_by_one_group = false;
  // weights
  bool raw_logits_as_weights = false;  // when not normalising
  bool normalise_twice = false;
  bool normalise_over_all = false;
  bool normalise_local_only = false;
  bool normalise_after_scale = false;
  bool normalise_always = false;
  bool bf16_weights = false;
  bool swap_first_two = false;
  bool sum_in_bf16 = false;
  bool nan_weights_kept = false;
  bool square_weights_on_input = false;  // only where the weight is applied to the input
  bool ones = false;                     // every weight is 1
  double scale_weights = 1.0;
  bool slots_by_id = false;  // ids sorted, weights left in order of score
};

struct RouterData {
  std::span<const float> router_bias;
  std::span<const float> correction_bias;
};

struct Routing {
  std::vector<std::int32_t> ids;  // [K]
  std::vector<float> weights;     // [K]
};

Routing route(const MoeSpec& spec, const RouterData& data, std::span<const float> logits,
              const RouterFaults& faults);

}  // namespace sluice::auditing
