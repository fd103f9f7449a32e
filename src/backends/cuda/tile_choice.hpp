// Which tiles the GEMMs use: pure functions of sizes, so that they are tested without a GPU.
#pragma once

#include <cstdint>

namespace sluice::cuda {

struct FfnSizes {
  std::int64_t tokens = 0;
  std::int64_t top_k = 0;
  std::int64_t num_experts = 0;  // over all ranks: what the router spreads tokens over
  std::int64_t hidden = 0;
  std::int64_t intermediate = 0;  // of this rank
  bool plain = true;  // SwiGLU without biases, alpha, beta and limit: kernels of every width
};

// Rows of weights x tokens that a CTA multiplies at a time. All but the first and the last are
// multiplied by turns: one warpgroup has a tile while the other stores the one before.
enum class FfnTile : std::uint8_t {
  rows64_tokens32,    // weights stream past a token or two: many small tiles spread evenly
  rows128_tokens64,   // weights dominate; half as many reads of the tokens
  rows128_tokens128,  // the wider, the fewer stages of weights are under way
  rows128_tokens160,
  rows128_tokens192,  // arithmetic dominates
  rows256_tokens192   // long tiles: a third fewer bytes from cache to shared memory per product
};

int max_groups(FfnTile tile);  // longest segment, in groups of 8 tokens
FfnTile choose_ffn(const FfnSizes& sizes);

}  // namespace sluice::cuda
