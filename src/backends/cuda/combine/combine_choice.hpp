// How the combine kernel shares out its work: pure, so that it is tested without a GPU.
#pragma once

#include <algorithm>
#include <cstdint>

#include "backends/cuda/layout.hpp"

namespace sluice::cuda {

inline constexpr int kCombineChunks = 32;  // of 16 bytes of a row: one step of a warp
// Warps that keep memory busy. With more tokens than that, each warp takes more chunks, and reads
// where its token's rows are once for all of them.
inline constexpr std::int64_t kCombineWarps = 132 * 40;

// Warps per token.
constexpr std::int64_t combine_parts(std::int64_t tokens, std::int64_t chunks) {
  const std::int64_t steps = ceil_div(chunks, kCombineChunks);
  return ceil_div(steps, std::clamp<std::int64_t>(steps * tokens / kCombineWarps, 1, steps));
}

}  // namespace sluice::cuda
