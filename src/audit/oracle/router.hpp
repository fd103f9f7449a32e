// One token's routing in double, with the error that fp32 code may make: which choices are right,
// and what each choice weighs. Formulas: docs/semantics.md §1.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include <sluice/spec.hpp>

#include "audit/oracle/approx.hpp"

namespace sluice::auditing {

// The score of an expert that is chosen after every one that has a number.
inline constexpr double kNever = -std::numeric_limits<double>::infinity();

struct RouterTensorsView {
  std::span<const float> router_bias;      // [E] or empty
  std::span<const float> correction_bias;  // [E] or empty
};

class TokenRouting {
 public:
  TokenRouting(const RouterSpec& router, const RouterTensorsView& tensors,
               std::span<const float> logits);

  // What exact arithmetic chooses.
  const std::vector<std::int32_t>& ids() const { return ids_; }
  // Another choice is right as well: some scores are closer than rounding can tell.
  bool ambiguous() const { return ambiguous_; }
  // Empty if fp32 arithmetic may choose `ids` in this order; else which pair is out of order.
  std::string why_wrong(std::span<const std::int32_t> ids) const;
  // Weights of chosen experts, as applied.
  std::vector<Approx> weights(std::span<const std::int32_t> ids) const;

 private:
  void score(std::span<const float> correction_bias);
  void choose();
  bool may_precede(std::int32_t a, std::int32_t b) const;
  bool groups_tie(std::size_t a, std::size_t b) const;
  std::string why_wrong_inside(std::span<const std::int32_t> ids,
                               const std::vector<bool>& kept) const;
  // Groups that are kept in any arithmetic, those that may be, and how many of these are.
  struct OpenGroups {
    std::vector<bool> sure;
    std::vector<std::size_t> open;
    std::size_t left;
  };
  OpenGroups open_groups() const;
  // Every set that may be kept; none where they are too many to try.
  std::vector<std::vector<bool>> possible_groups() const;
  // The set that may be kept under which `ids` are right, if there is one.
  std::vector<bool> likeliest_groups(std::span<const std::int32_t> ids) const;

  const RouterSpec& router_;
  std::vector<Approx> logits_;  // as the choice sees them
  std::vector<Approx> scores_;
  std::vector<Approx> biased_;
  std::vector<Approx> choice_;  // biased, NaN as -inf
  std::vector<float> bias_;     // to tell equal inputs from nearly equal scores
  std::vector<Approx> group_scores_;
  std::vector<std::int32_t> ids_;
  bool ambiguous_ = false;
};

// Scores of logits, in the order given: all E, or the K chosen.
std::vector<Approx> score_all(ScoreFunc function, std::span<const Approx> logits);

}  // namespace sluice::auditing
