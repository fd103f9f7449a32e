// Weights are constants: they may be fetched before the kernels ahead in the stream are done, while
// routing leaves memory idle.
#pragma once

#include "backends/cuda/device/ptx.cuh"
#include "backends/cuda/params.hpp"

namespace sluice::cuda {

inline constexpr int kPrefetchers = 128;  // blocks of threads: one alone asks for too little

// This block's share. `bytes` is a multiple of kTileBytes.
__device__ inline void prefetch(const Prefetch& ahead) {
  if (threadIdx.x != 0) return;
  const std::int64_t tiles = ahead.bytes / kTileBytes;
  const std::int64_t begin = tiles * blockIdx.x / gridDim.x;
  const std::int64_t end = tiles * (blockIdx.x + 1) / gridDim.x;
  if (begin == end) return;
  bulk_prefetch(ahead.from + begin * kTileBytes,
                static_cast<std::uint32_t>((end - begin) * kTileBytes));
}

}  // namespace sluice::cuda
