// How a warp streams weights past one token: through a ring of its own, which it fills and empties
// alone, so that no warp waits for another before the rows are summed.
#pragma once

#include "backends/cuda/device/ptx.cuh"
#include "backends/cuda/one_token/one_token.hpp"

namespace sluice::cuda {

// Consecutive things of `total` that the `index`th of `count` takes.
struct Share {
  int begin, end;
  __device__ Share(unsigned total, unsigned index, unsigned count)
      : begin(static_cast<int>(total * index / count)),
        end(static_cast<int>(total * (index + 1) / count)) {}
  __device__ int size() const { return end - begin; }
};

// A warp's ring. Lane p fills place p, so that where the next steps are is worked out by all lanes
// at once, a round ahead.
struct Ring {
  std::uint8_t* slots;
  Barrier* full;
  int stages;

  // `barriers`: `most` for each warp.
  __device__ Ring(std::uint8_t* memory, Barrier* barriers, int most, int stages_of)
      : slots(memory + threadIdx.x / 32 * stages_of * kStreamStepBytes),
        full(barriers + threadIdx.x / 32 * most),
        stages(stages_of) {}
  __device__ std::uint8_t* slot(int place) const { return slots + place * kStreamStepBytes; }
};

// 64 values of the token, in the order in which lanes take them: lane l holds, of each chunk of 8
// columns, the pair l % 4.
struct TokenBlock {
  std::uint32_t words[8];

  __device__ void load_shared(const std::uint8_t* block) {
    const auto* from = reinterpret_cast<const uint4*>(block) + threadIdx.x % 4 * 2;
    set(from[0], from[1]);
  }
  // Written by the kernel before: not through the first-level cache.
  __device__ void load_global(const std::uint8_t* block) {
    const auto* from = reinterpret_cast<const uint4*>(block) + threadIdx.x % 4 * 2;
    set(__ldcg(from), __ldcg(from + 1));
  }
  // Byte of a column inside the block.
  __device__ static int offset(int column) {
    return column % 8 / 2 * 32 + column / 8 * 4 + column % 2 * 2;
  }

 private:
  __device__ void set(const uint4& low, const uint4& high) {
    words[0] = low.x, words[1] = low.y, words[2] = low.z, words[3] = low.w;
    words[4] = high.x, words[5] = high.y, words[6] = high.z, words[7] = high.w;
  }
};

struct StripSums {
  float low = 0.0f;   // of row lane / 4 …
  float high = 0.0f;  // … and 8 + lane / 4, in every fourth lane
};

// A strip of 16 rows x 64 columns times the token, which is all eight columns of the product's
// other matrix. Two chains, since a product must wait for the one before it.
__device__ inline StripSums multiply_strip(std::uint32_t strip, const TokenBlock& token) {
  const int lane = threadIdx.x % 32;
  const std::uint32_t row = strip + lane / 8 % 2 * static_cast<std::uint32_t>(kGroupBytes);
  float sums[2][4] = {};
#pragma unroll
  for (int chunk = 0; chunk < 8; chunk += 2) {
    std::uint32_t a[4];
    load_matrices(a, row + static_cast<std::uint32_t>(chunk_offset(lane % 8, chunk + lane / 16)));
    mma_bf16(sums[chunk / 2 % 2], a[0], a[1], a[2], a[3], token.words[chunk],
             token.words[chunk + 1]);
  }
  return {sums[0][0] + sums[1][0], sums[0][2] + sums[1][2]};
}

// What the warps leave of the CTA's rows: of each 16 that a warp met, its part of the sum.
template <int kWarps, int kMost>
struct Parts {
  float rows[kWarps][kMost][kStripRows];
  int first[kWarps];  // which 16 part 0 is
  int count[kWarps];

  __device__ void put(int part, const StripSums& sums) {
    const int lane = threadIdx.x % 32;
    if (lane % 4 != 0) return;
    rows[threadIdx.x / 32][part][lane / 4] = sums.low;
    rows[threadIdx.x / 32][part][8 + lane / 4] = sums.high;
  }
  __device__ void close(int first_of, int parts) {
    if (threadIdx.x % 32 != 0) return;
    first[threadIdx.x / 32] = first_of;
    count[threadIdx.x / 32] = parts;
  }
  // A row, added up in the order of the warps.
  __device__ float sum(int sixteen, int row) const {
    float total = 0.0f;
#pragma unroll
    for (int warp = 0; warp < kWarps; ++warp) {
      const int part = sixteen - first[warp];
      if (part >= 0 && part < count[warp]) total += rows[warp][part][row];
    }
    return total;
  }
};

}  // namespace sluice::cuda
