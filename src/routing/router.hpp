// From router logits to expert ids and weights, on the host: docs/semantics.md §1.
//
// Precision. Scores are computed and compared in fp32; where no bias and no group needs them, the
// choice is made on the logits, of which every score function is increasing. The K weights are
// recomputed from their logits in double and rounded once, so that they do not lose small scores.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <sluice/spec.hpp>
#include <sluice/tensor.hpp>

namespace sluice {

inline constexpr std::int64_t kMaxExperts = 4096;
inline constexpr std::int64_t kMaxTopK = 64;

// One call's tokens. Nothing is owned.
struct RouteJob {
  TensorView logits;       // [tokens, E] f32|bf16|f16, without router_bias
  std::int64_t first = 0;  // tokens [first, last)
  std::int64_t last = 0;
  std::span<std::int32_t> ids;     // [tokens, K]: K distinct experts, best first
  std::span<float> weights;        // [tokens, K], as the experts' outputs are to be multiplied
  std::span<std::byte> workspace;  // workspace_bytes(), of this caller alone
};

class Router {
 public:
  // Copies the biases, [E] f32|bf16 or not given. Throws Error(unsupported) beyond kMaxExperts and
  // kMaxTopK.
  Router(const RouterSpec& spec, const TensorView& router_bias,
         const TensorView& e_score_correction_bias);

  std::size_t workspace_bytes() const;
  // Tokens are independent of each other: any split over threads gives the same bits.
  void route(const RouteJob& job) const;

 private:
  struct Scratch;
  Scratch scratch(std::byte* memory) const;
  void load_logits(const RouteJob& job, std::int64_t token, const Scratch& scratch) const;
  void prepare_choice(const Scratch& scratch) const;
  void mask_groups(const Scratch& scratch) const;
  void weigh(const Scratch& scratch, std::span<const std::int32_t> ids,
             std::span<float> weights) const;

  RouterSpec spec_;
  std::vector<float> router_bias_;      // empty: none
  std::vector<float> correction_bias_;  // empty: none
};

}  // namespace sluice
