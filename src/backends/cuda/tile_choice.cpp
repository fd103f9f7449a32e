#include "backends/cuda/tile_choice.hpp"

#include <algorithm>

namespace sluice::cuda {

int max_groups(FfnTile tile) {
  switch (tile) {
    case FfnTile::rows64_tokens32:
      return 4;
    case FfnTile::rows128_tokens64:
      return 8;
    case FfnTile::rows128_tokens160:
      return 20;
    case FfnTile::rows128_tokens256:
      return 32;
    case FfnTile::rows256_tokens192:
      break;
  }
  return 24;
}

FfnTile choose_ffn(const FfnSizes& sizes) {
  // Tokens of an average expert; a segment that holds them with room for chance reads each weight
  // once.
  const std::int64_t average =
      sizes.tokens * sizes.top_k / std::max<std::int64_t>(1, sizes.num_experts);
  if (average > 52 && sizes.plain) {
    // The higher a tile, the fewer there are, and the longer multiprocessors without one wait for
    // the last: high ones only where experts or their segments are many.
    const std::int64_t segments = sizes.num_experts * ((average + 179) / 180);
    if (average <= 100 || segments < 32) return FfnTile::rows128_tokens160;
    if (segments <= 180) return FfnTile::rows128_tokens256;
    return FfnTile::rows256_tokens192;
  }
  if (average > 2) return FfnTile::rows128_tokens64;
  return FfnTile::rows64_tokens32;
}

}  // namespace sluice::cuda
