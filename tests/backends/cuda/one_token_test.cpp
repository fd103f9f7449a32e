#include "backends/cuda/one_token/one_token.hpp"

#include <gtest/gtest.h>

namespace sluice::cuda {
namespace {

constexpr std::int64_t kMultiprocessors = 132;
constexpr std::int64_t kSharedBytes = 228 * 1024;  // of a multiprocessor; 1 KiB of it per block
constexpr std::int64_t kQuarterRegisters = 16384;  // of a quarter of a multiprocessor

OneTokenSizes sizes(std::int64_t top_k, std::int64_t hidden, std::int64_t intermediate,
                    std::int64_t shared = 0) {
  const BlockShape routed{hidden, intermediate, true};
  const BlockShape beside{hidden, shared, true};
  return {kMultiprocessors, top_k, hidden, routed.rows1() / kStripRows,
          shared > 0 ? beside.rows1() / kStripRows : 0};
}

TEST(CudaOneToken, ABlockOfEitherKernelStandsOnAMultiprocessorButNotTwoOfOne) {
  constexpr std::int64_t kDeclared = 4 * 1024;  // and the kernels' own, at most
  EXPECT_LE(kUpBytes + kDownBytes + 2 * (kDeclared + 1024), kSharedBytes);
  EXPECT_GT(2 * kUpBytes, kSharedBytes - 2 * kDeclared);
  const auto registers = [](int threads, int each) { return (threads / 32 + 3) / 4 * 32 * each; };
  EXPECT_LE(registers(kUpThreads, kUpRegisters) + registers(kDownThreads, kDownRegisters),
            kQuarterRegisters);
  EXPECT_GT(2 * registers(kDownThreads, kDownRegisters), kQuarterRegisters);
}

TEST(CudaOneToken, StreamsLayersWhoseStripsAreSharedEvenlyEnough) {
  EXPECT_EQ(up_stages(sizes(8, 2048, 768)), kUpStages);         // qwen3-30b
  EXPECT_EQ(up_stages(sizes(8, 2304, 1024, 1024)), kUpStages);  // kimi-linear
  EXPECT_EQ(up_stages(sizes(8, 2048, 1024, 1024)), kUpStages);  // trinity-mini
  EXPECT_EQ(up_stages(sizes(2, 4096, 14336)), kUpStages);       // mixtral-8x7b
  EXPECT_EQ(up_stages(sizes(8, 7168, 2048)), 0);                // deepseek-v3: 57 MB
  EXPECT_EQ(up_stages(sizes(1, 8, 8)), kUpStages);
}

// Warps leave their sums in kUpParts and kDownParts places, a thread finishes one unit.
TEST(CudaOneToken, NoWarpMeetsMoreRowsThanItHasPlacesFor) {
  constexpr std::int64_t kStripSteps = 1000;  // many: ranges then begin anywhere in a strip
  for (const std::int64_t top_k : {1, 2, 8, 32}) {
    for (std::int64_t hidden = 8; hidden <= 32768; hidden = hidden * 3 / 2 / 8 * 8 + 8) {
      for (std::int64_t width = 8; width <= 16384; width = width * 3 / 2 / 8 * 8 + 8) {
        for (const std::int64_t shared : {std::int64_t{0}, width}) {
          const OneTokenSizes of = sizes(top_k, hidden, width, shared);
          if (up_stages(of) == 0) continue;
          const auto most = [](std::int64_t sixteens, std::int64_t steps, std::int64_t warps) {
            // A range of so many steps that begins with the last step of a sixteen.
            const std::int64_t own = ceil_div(sixteens * steps, warps);
            return 1 + ceil_div(own - 1, steps);
          };
          const std::int64_t up = ceil_div(top_k * of.strips + of.shared_strips, kMultiprocessors);
          EXPECT_LE(most(up, ceil_div(hidden, kBlockColumns), kUpWarps), kUpParts);
          EXPECT_LE(up * 8, kUpThreads);
          const std::int64_t down =
              ceil_div(ceil_div(hidden, kStripRows), kMultiprocessors) * (shared > 0 ? 2 : 1);
          EXPECT_LE(most(down, kStripSteps, kDownWarps), kDownParts);
          EXPECT_LE(up_stages(of) * kUpWarps * kStreamStepBytes +
                        ceil_div(hidden, kBlockColumns) * kTokenBlockBytes,
                    kUpBytes);
        }
      }
    }
  }
}

}  // namespace
}  // namespace sluice::cuda
