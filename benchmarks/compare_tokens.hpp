// Is what is about to be timed right? A few tokens against the definition, in double.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include <sluice/executor.hpp>
#include <sluice/spec.hpp>

#include "shapes.hpp"

namespace sluice::bench {

// What somebody made of one token.
struct ComputedToken {
  std::int64_t token = 0;             // its hidden state is row `token` of the benchmark's
  std::vector<float> logits;          // [E], as given
  std::vector<std::int32_t> ids;      // [K]
  std::vector<float> weights;         // [K]
  std::vector<std::uint16_t> output;  // [H] bf16
};

// The first, middle and last of `tokens` that were computed together.
std::vector<ComputedToken> sample_tokens(const Shape& shape, std::int64_t tokens,
                                         std::span<const float> logits,
                                         std::span<const std::int32_t> ids,
                                         std::span<const float> weights,
                                         std::span<const std::uint16_t> output);

// The values that were multiplied. Called by several threads at a time.
struct LayerValues {
  std::function<std::vector<float>(std::int64_t expert)> gate, up;  // [I, H]
  std::function<std::vector<float>(std::int64_t expert)> down;      // [H, I]
  std::function<std::vector<float>(std::int64_t token)> hidden;     // [H]
};

// What the definition makes of one slot of a token.
struct DefinedSlot {
  std::vector<double> value;      // [H]
  std::vector<double> magnitude;  // [H]: how large the terms of its sums are
};

// The slots of every token, once for everybody who computed them, [tokens * K]. Throws
// Error(internal) naming `who` and the first token whose ids or weights are not the definition's.
std::vector<DefinedSlot> define_slots(std::string_view who, const Shape& shape, const MoeSpec& spec,
                                      const LayerValues& values,
                                      const std::vector<ComputedToken>& tokens, Executor& executor);

// Throws Error(internal) naming `who` and the first token, and element, that is wrong. The bound of
// an element is 2^-8 (|y| + sum |down| |h|): its own rounding, and every h one bf16 step away. With
// `slot_outputs_rounded` each slot's adds 2^-8 of it.
void compare_outputs(std::string_view who, const std::vector<ComputedToken>& tokens,
                     std::span<const DefinedSlot> slots, bool slot_outputs_rounded);

}  // namespace sluice::bench
