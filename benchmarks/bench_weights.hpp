// The weights of a benchmarked layer on the CPU: every expert its own values, in little memory.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <sluice/weights.hpp>

#include "compare_tokens.hpp"
#include "shapes.hpp"

namespace sluice::bench {

std::vector<std::uint16_t> random_bf16_values(std::int64_t count, float spread, std::uint32_t seed);

// All experts look into the same random values, each kStep further on than the one before, so that
// whoever takes one expert for another computes something else. Packing copies: what is measured
// still has memory of its own for each.
class BenchWeights {
 public:
  explicit BenchWeights(const Shape& shape);
  std::span<const std::uint16_t> gate_up(std::int64_t expert) const;  // [2I, H] bf16
  std::span<const std::uint16_t> down(std::int64_t expert) const;     // [H, I] bf16
  MoeWeights views() const;                                           // into this
  // With hidden states [tokens, H] bf16. Looks into these and into this.
  LayerValues values(std::span<const std::uint16_t> hidden) const;

 private:
  static constexpr std::int64_t kStep = 32;  // a cache line
  Shape shape_;
  std::vector<std::uint16_t> gate_up_, down_;
};

}  // namespace sluice::bench
