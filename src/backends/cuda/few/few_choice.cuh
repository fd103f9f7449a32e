// Which experts a few tokens choose, by all warps of a block of threads.
#pragma once

#include "backends/cuda/few/few.hpp"
#include "backends/cuda/routing/routing.cuh"

namespace sluice::cuda {

// found(token, slot, local expert) for every slot of this rank's experts. `scratch`:
// group_scratch() floats of each warp.
template <int kPerLane, typename Found>
__device__ void choose_few(const Routing& routing, int live, float* scratch, Found found) {
  const int warp = threadIdx.x / 32;
  for (int token = warp; token < live; token += blockDim.x / 32) {
    const RoutedSlot slot =
        choose_token<kPerLane>(routing, token, scratch + warp * group_scratch(routing.router));
    const std::int32_t local = local_expert(routing, slot);
    if (local >= 0) found(token, static_cast<int>(threadIdx.x % 32), local);
  }
}

}  // namespace sluice::cuda
