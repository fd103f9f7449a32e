// Launches that may begin while the kernel before them ends (programmatic dependent launch): every
// block waits before it touches what earlier kernels wrote, and before it ends.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <string_view>
#include <utility>

#include "backends/cuda/device/error.hpp"

namespace sluice::cuda {

inline constexpr unsigned kAllLanes = 0xffffffffu;

// Waits until everything before this kernel in the stream is done and visible.
__device__ inline void wait_for_earlier() { asm volatile("griddepcontrol.wait;" ::: "memory"); }

// Lets the next kernel start its own prologue, once every block of this one has come here.
__device__ inline void start_next() {
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}

__device__ inline void begin() {
  wait_for_earlier();
  start_next();
}

// More than 48 KiB of shared memory, what the kernel itself declares included, must be asked for.
// It asks for all there is: the limit belongs to the kernel, and another thread that launches it
// for a smaller layer must not lower what this one is about to use.
template <typename Kernel>
void allow_shared_memory(Kernel kernel, std::size_t bytes) {
  cudaFuncAttributes own{};
  check(cudaFuncGetAttributes(&own, kernel), "cudaFuncGetAttributes");
  if (bytes + own.sharedSizeBytes <= 48 * 1024) return;
  int device = 0;
  int most = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  check(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
        "cudaDeviceGetAttribute(MaxSharedMemoryPerBlockOptin)");
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             most - static_cast<int>(own.sharedSizeBytes)),
        "cudaFuncSetAttribute(MaxDynamicSharedMemorySize)");
}

template <typename... Parameters, typename... Arguments>
void launch(std::string_view name, void (*kernel)(Parameters...), dim3 grid, dim3 block,
            std::size_t shared_bytes, cudaStream_t stream, Arguments&&... arguments) {
  cudaLaunchAttribute overlap{};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &overlap;
  config.numAttrs = 1;
  check(cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...), name);
}

}  // namespace sluice::cuda
