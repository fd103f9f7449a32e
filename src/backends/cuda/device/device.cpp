#include "backends/cuda/device/device.hpp"

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include "backends/cuda/device/error.hpp"

namespace sluice::cuda {

DeviceScope::DeviceScope(int device) {
  check(cudaGetDevice(&before_), "cudaGetDevice");
  if (before_ == device) return;
  check(cudaSetDevice(device), fmt::format("cudaSetDevice({})", device));
}

DeviceScope::~DeviceScope() { cudaSetDevice(before_); }

int multiprocessors() {
  int device = 0;
  int count = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device),
        "cudaDeviceGetAttribute(MultiProcessorCount)");
  return count;
}

}  // namespace sluice::cuda
