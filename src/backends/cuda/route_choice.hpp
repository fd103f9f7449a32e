// Sizes of the routing kernels, from the router alone.
#pragma once

#include <cstdint>

#include <sluice/spec.hpp>

#include "backends/cuda/layout.hpp"

namespace sluice::cuda {

// Experts that each of a warp's 32 lanes holds in registers: 4, 8, 16 or 32.
constexpr int experts_per_lane(std::int64_t experts) {
  return experts <= 128 ? 4 : experts <= 256 ? 8 : experts <= 512 ? 16 : 32;
}

// Floats of shared memory that a warp needs to rank groups.
SLUICE_HOST_DEVICE constexpr int group_scratch(const RouterSpec& router) {
  return router.n_group > 1 ? static_cast<int>(router.num_experts + router.n_group) : 0;
}

}  // namespace sluice::cuda
