#include "backends/cuda/device/device.hpp"

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include "backends/cuda/device/error.hpp"

namespace sluice::cuda {

DeviceScope::DeviceScope(int device) {
  check(cudaGetDevice(&before_), "cudaGetDevice");
  changed_ = before_ != device;
  if (changed_) check(cudaSetDevice(device), fmt::format("cudaSetDevice({})", device));
}

// To set a device makes a context there: not for one that was never left.
DeviceScope::~DeviceScope() {
  if (changed_) cudaSetDevice(before_);
}

int multiprocessors() {
  int device = 0;
  int count = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device),
        "cudaDeviceGetAttribute(MultiProcessorCount)");
  return count;
}

}  // namespace sluice::cuda
