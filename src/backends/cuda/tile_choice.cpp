#include "backends/cuda/tile_choice.hpp"

#include <algorithm>

namespace sluice::cuda {
namespace {

// Column blocks that a tile of 64 rows is summed over, on average of both GEMMs. Where it is long,
// little is gained by storing it while the next one is multiplied.
std::int64_t mean_blocks(const FfnSizes& sizes) {
  const std::int64_t rows = 2 * sizes.intermediate + sizes.hidden;
  return 3 * sizes.hidden * sizes.intermediate / std::max<std::int64_t>(1, 64 * rows);
}

}  // namespace

int max_groups(FfnTile tile) {
  switch (tile) {
    case FfnTile::rows64_tokens32:
      return 4;
    case FfnTile::rows128_tokens64:
      return 8;
    case FfnTile::rows128_tokens128:
      return 16;
    case FfnTile::rows128_tokens160:
      return 20;
    case FfnTile::rows128_tokens192:
    case FfnTile::rows256_tokens192:
      break;
  }
  return 24;
}

FfnTile choose_ffn(const FfnSizes& sizes) {
  const std::int64_t experts = std::max<std::int64_t>(1, sizes.num_experts);
  const std::int64_t average = sizes.tokens * sizes.top_k / experts;  // tokens of an expert
  if (average <= 2) return FfnTile::rows64_tokens32;
  if (average <= 52) return FfnTile::rows128_tokens64;
  if (!sizes.plain) return FfnTile::rows128_tokens192;
  // An expert is cut into as few segments as the widest tiles allow; the narrowest tile that holds
  // one, with room for chance, has the deepest ring.
  const std::int64_t segments = (average + 191) / 192;
  // High tiles are few, and multiprocessors without one wait for the last.
  const bool many = average > 100 && segments * experts >= 64;
  if (many && mean_blocks(sizes) >= 40) return FfnTile::rows256_tokens192;
  const std::int64_t own = average / segments;
  if (own <= 90) return FfnTile::rows128_tokens128;
  if (own <= 140) return FfnTile::rows128_tokens160;
  return FfnTile::rows128_tokens192;
}

}  // namespace sluice::cuda
