// Every CUDA call is checked: check(cudaMalloc(…), "cudaMalloc of 12 bytes").
#pragma once

#include <cuda_runtime_api.h>

#include <string_view>

namespace sluice::cuda {

// Throws Error(device) naming what was tried, CUDA's own name for what went wrong, and what helps.
void check(cudaError_t result, std::string_view what);

}  // namespace sluice::cuda
