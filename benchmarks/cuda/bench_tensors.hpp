// The tensors of a benchmarked layer, by number: host and device draw the same values.
#pragma once

#include <cstdint>

#include "shapes.hpp"

namespace sluice::bench {

inline constexpr std::uint64_t kHiddenTensor = 2;
inline constexpr float kHiddenSpread = 1.0f;
inline constexpr float kWeightSpread = 0.02f;

inline std::uint64_t gate_up_tensor(std::int64_t expert) {
  return 16 + 2 * static_cast<std::uint64_t>(expert);
}
inline std::uint64_t down_tensor(std::int64_t expert) { return gate_up_tensor(expert) + 1; }

}  // namespace sluice::bench
