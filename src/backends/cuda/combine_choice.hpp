// How the combine kernel shares out its work: pure, so that it is tested without a GPU.
#pragma once

#include <algorithm>
#include <cstdint>

#include "backends/cuda/layout.hpp"

namespace sluice::cuda {

inline constexpr int kCombineColumns = 128;  // of one step of a warp: four per lane
// Warps that keep memory busy. With more tokens than that, each warp takes more columns, and reads
// where its token's rows are once for all of them.
inline constexpr std::int64_t kCombineWarps = 132 * 40;

// Warps per token.
constexpr std::int64_t combine_parts(std::int64_t tokens, std::int64_t hidden) {
  const std::int64_t steps = ceil_div(hidden, kCombineColumns);
  return ceil_div(steps, std::clamp<std::int64_t>(steps * tokens / kCombineWarps, 1, steps));
}

}  // namespace sluice::cuda
