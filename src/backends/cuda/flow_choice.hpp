// Which kernels a call goes through, by its sizes: pure, so that it is tested without a GPU.
#pragma once

#include <cstdint>

namespace sluice::cuda {

enum class Flow : std::uint8_t {
  dense,    // every expert that is hit computes all tokens: nothing is sorted
  sorted,   // by experts, where every CTA of the FFN finds out for itself how
  planned,  // by experts, as two kernels before the FFN plan it
};

inline constexpr int kDenseTokens = 16;
inline constexpr int kFewTokens = 64;
inline constexpr int kFewExperts = 512;  // two for each thread of the smallest block that plans
// What the FFN gains by planning for itself are a few microseconds, which the many tiles of larger
// experts lose again.
inline constexpr std::int64_t kSmallExpertBytes = 32'000'000;

struct FlowSizes {
  std::int64_t tokens = 0;
  std::int64_t num_experts = 0;   // over all ranks
  std::int64_t expert_bytes = 0;  // of one routed expert's weights
  bool weight_on_input = false;   // a token's rows differ from expert to expert
};

constexpr Flow choose_flow(const FlowSizes& sizes) {
  if (sizes.num_experts > kFewExperts) return Flow::planned;
  if (sizes.tokens <= kDenseTokens && !sizes.weight_on_input) return Flow::dense;
  const bool small = sizes.expert_bytes <= kSmallExpertBytes;
  return sizes.tokens <= kFewTokens && small ? Flow::sorted : Flow::planned;
}

}  // namespace sluice::cuda
