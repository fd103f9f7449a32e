#include "backends/cuda/tile_choice.hpp"

#include <algorithm>

namespace sluice::cuda {

int max_groups(FfnTile tile) {
  switch (tile) {
    case FfnTile::rows64_tokens32:
      return 4;
    case FfnTile::rows128_tokens64:
      return 8;
    case FfnTile::rows128_tokens256:
      break;
  }
  return 32;
}

int tile_rows(FfnTile tile) { return tile == FfnTile::rows64_tokens32 ? 64 : 128; }

FfnChoice choose_ffn(const FfnSizes& sizes) {
  FfnChoice choice;
  // Tokens of an average expert; a segment that holds them with room for chance reads each weight
  // once.
  const std::int64_t average =
      sizes.tokens * sizes.top_k / std::max<std::int64_t>(1, sizes.num_experts);
  if (average > 32 && sizes.plain) {
    choice.tile = FfnTile::rows128_tokens256;
  } else if (average > 12) {
    choice.tile = FfnTile::rows128_tokens64;
  }
  // With a handful of tokens whole tiles of GEMM 2 would leave some CTAs one tile (of about four)
  // behind the others. Quarters even that out; each part keeps two column blocks or more.
  constexpr std::int64_t kFewTokens = 8;
  if (sizes.tokens <= kFewTokens) {
    choice.split = static_cast<int>(std::clamp<std::int64_t>(sizes.columns2 / 2, 1, 4));
  }
  return choice;
}

}  // namespace sluice::cuda
