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
      break;
  }
  return 32;
}

FfnTile choose_ffn(const FfnSizes& sizes) {
  // Tokens of an average expert; a segment that holds them with room for chance reads each weight
  // once.
  const std::int64_t average =
      sizes.tokens * sizes.top_k / std::max<std::int64_t>(1, sizes.num_experts);
  if (average > 100 && sizes.plain) return FfnTile::rows128_tokens256;
  if (average > 40 && sizes.plain) return FfnTile::rows128_tokens160;
  if (average > 12) return FfnTile::rows128_tokens64;
  return FfnTile::rows64_tokens32;
}

}  // namespace sluice::cuda
