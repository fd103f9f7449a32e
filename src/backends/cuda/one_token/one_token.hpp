// One token through a layer in two kernels. There is nothing to sort and no tile to share, so that
// every CTA routes for itself and its warps stream an equal part of the weights: GEMM 1 to h, then
// GEMM 2 with the sum over the slots, without outputs of slots in memory.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "backends/cuda/params.hpp"

namespace sluice::cuda {

inline constexpr int kUpWarps = 8;
inline constexpr int kDownWarps = 16;
inline constexpr std::int64_t kStripRows = 16;  // in GEMM 1 eight units' gate and up
inline constexpr int kTileStrips = static_cast<int>(kTileRows / kStripRows);
inline constexpr int kStreamStepBytes = 2048;  // of weights: a strip x 64 columns
inline constexpr int kTokenBlockBytes = 128;   // 64 columns of the token
inline constexpr int kUpStages = 6;            // of a warp's ring, at most
inline constexpr int kDownStages = 3;
inline constexpr int kUpParts = 5;  // 16 rows each, or what of them a warp has: at most
inline constexpr int kDownParts = 3;

struct OneToken {
  Routing routing;
  Plan plan;  // nothing but the token count
  Staging staging;
  FfnBlocks routed, shared;  // h is [slot][columns2] blocks of 64 units, one token
  int tiles2 = 0;
  Combine last;
};

struct OneTokenSizes {
  std::int64_t multiprocessors = 0;
  std::int64_t top_k = 0;
  std::int64_t hidden = 0;
  std::int64_t strips = 0;         // of GEMM 1, of a routed expert …
  std::int64_t shared_strips = 0;  // … and of the shared block
};

// Dynamic shared memory, and registers of a thread. A block of either kernel must stand on every
// multiprocessor, and never two of one kernel while another multiprocessor has none: GEMM 1's
// blocks take more than half of the shared memory, GEMM 2's more than half of the registers, for
// which they have warps that do little. (A quarter of the warps share 16,384 registers: 2 * 32 * 64
// and 5 * 32 * 72. The suite on the GPU sees to it.)
inline constexpr std::int64_t kUpBytes = 111 * 1024;
inline constexpr std::int64_t kDownBytes = kDownStages * kDownWarps * kStreamStepBytes;
inline constexpr int kUpThreads = kUpWarps * 32;
inline constexpr int kDownThreads = (kDownWarps + 4) * 32;
inline constexpr int kUpRegisters = 64;
inline constexpr int kDownRegisters = 72;

// Bytes that blocks with a strip more than others keep the others waiting for: with more of them
// the kernels of several tokens are faster, which share work out as they go.
inline constexpr std::int64_t kMostUneven = 40'000'000;

// Stages of the rings of GEMM 1; 0: the layer is too large, or its strips are shared too unevenly.
constexpr int up_stages(const OneTokenSizes& sizes) {
  const std::int64_t blocks = sizes.multiprocessors;
  const std::int64_t up = sizes.top_k * sizes.strips + sizes.shared_strips;
  const std::int64_t down = ceil_div(sizes.hidden, kStripRows);
  const std::int64_t most_up = ceil_div(up, blocks);
  const std::int64_t most_down = ceil_div(down, blocks);
  const std::int64_t width = up * kStripRows / 2;  // of all h together
  const std::int64_t uneven =
      ((most_up * blocks - up) * sizes.hidden + (most_down * blocks - down) * width) * kStripRows *
      2;
  if (uneven > kMostUneven) return 0;
  // An even part of so many sixteens reaches into at most two more.
  if (most_up / kUpWarps + 2 > kUpParts) return 0;
  if (most_down * (sizes.shared_strips > 0 ? 2 : 1) / kDownWarps + 2 > kDownParts) return 0;
  const std::int64_t token = ceil_div(sizes.hidden, kBlockColumns) * kTokenBlockBytes;
  const std::int64_t stages = (kUpBytes - token) / (kUpWarps * kStreamStepBytes);
  return stages < 2 ? 0 : static_cast<int>(stages < kUpStages ? stages : kUpStages);
}

// Blocks of the same kernel that a multiprocessor of the current device would take, at most: 1.
int one_token_blocks();

void run_one_token(const OneToken& args, const OneTokenSizes& sizes, cudaStream_t stream);

}  // namespace sluice::cuda
