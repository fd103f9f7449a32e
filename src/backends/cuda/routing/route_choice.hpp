// Sizes of the routing kernels: pure functions, so that they are tested without a GPU.
#pragma once

#include <cstdint>

#include <sluice/spec.hpp>

#include "backends/cuda/params.hpp"

namespace sluice::cuda {

// Experts that each of a warp's 32 lanes holds in registers: 4, 8, 16 or 32.
constexpr int experts_per_lane(std::int64_t experts) {
  return experts <= 128 ? 4 : experts <= 256 ? 8 : experts <= 512 ? 16 : 32;
}

// f.template operator()<experts_per_lane(experts)>(), for a kernel that is built for at most
// kMostExperts.
template <std::int64_t kMostExperts, int kPerLane = 4, typename F>
void with_experts_per_lane(std::int64_t experts, F f) {
  if constexpr (kPerLane < experts_per_lane(kMostExperts)) {
    if (experts_per_lane(experts) > kPerLane) {
      return with_experts_per_lane<kMostExperts, 2 * kPerLane>(experts, f);
    }
  }
  f.template operator()<kPerLane>();
}

// Tokens of one block of the counting sort: as many blocks as multiprocessors where there are
// tokens enough, a warp per token where there are not. At most 255, since counts are bytes.
inline constexpr int kMaxBlocks = 128;
inline constexpr int kLeastBlockTokens = 8;
constexpr std::int64_t block_tokens(std::int64_t tokens) {
  const std::int64_t even = round_up(ceil_div(tokens, kMaxBlocks), 4);
  return even < kLeastBlockTokens ? kLeastBlockTokens : even;
}
// Grows with the tokens, unlike the number of blocks itself.
constexpr std::int64_t max_blocks(std::int64_t tokens) {
  const std::int64_t least = ceil_div(tokens, kLeastBlockTokens);
  return least < kMaxBlocks ? least : kMaxBlocks;
}
// Counts of a block, padded so that 2^n threads read them, 16 bytes each.
constexpr std::int64_t count_row(std::int64_t experts) {
  std::int64_t loads = 1;
  while (loads * 16 < experts) loads *= 2;
  return loads * 16;
}

// Weights to fetch into the second-level cache before it is known who is hit, for nearly everybody
// will be. They must still be there when the FFN comes to them, beside the rows that are staged and
// written meanwhile: with many tokens each would push the other out.
constexpr std::int64_t prefetch_bytes(std::int64_t slots, std::int64_t hidden,
                                      std::int64_t weights) {
  constexpr std::int64_t kMost = std::int64_t{24} << 20;
  constexpr std::int64_t kBeside = std::int64_t{32} << 20;
  const std::int64_t rows = slots * hidden * 6;  // bf16 staged, fp32 written
  if (rows > kBeside) return 0;
  return (weights < kMost ? weights : kMost) / kTileBytes * kTileBytes;
}

// Of a warp's candidates for the K best experts, so many are told apart side by side.
inline constexpr int kMostCandidates = 64;
inline constexpr int kRankBatch = 8;  // compared together

// Floats of shared memory that a warp needs to route a token: candidates (key and expert, logit),
// who was chosen, and for groups the scores of experts and groups.
inline constexpr int kChoiceFloats = 3 * kMostCandidates + 2 * kRankBatch + 2 * kMaxTopK;
SLUICE_HOST_DEVICE constexpr int group_scratch(const RouterSpec& router) {
  const bool grouped = router.n_group > 1;
  const int scores = grouped ? static_cast<int>(router.num_experts + router.n_group) : 0;
  return kChoiceFloats + (scores + 3) / 4 * 4;
}

}  // namespace sluice::cuda
