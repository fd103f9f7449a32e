// What this GPU can do at most, measured now.
#pragma once

#include <memory>
#include <string>

#include <sluice/backend.hpp>

#include "backends/device_buffer.hpp"
#include "cuda/device.hpp"

namespace sluice::bench {

// cuBLAS, found at run time: nothing here needs it to be installed.
class Cublas;

class DeviceCeilings {
 public:
  DeviceCeilings(const std::shared_ptr<const DeviceMemory>& memory, cudaStream_t stream);
  ~DeviceCeilings();

  // A kernel that reads 4 GiB once: bytes per second. Another read goes before it, because the
  // multiprocessors' clock is still low after matrix products.
  double read_bandwidth() const;
  // A bf16 product of 8192 x 8192 x 8192 on random data: operations per second.
  double dense_rate() const;
  // Where dense_rate comes from.
  std::string dense_source() const;

 private:
  cudaStream_t stream_;
  DeviceBuffer memory_;
  DeviceBuffer sink_;
  std::unique_ptr<Cublas> cublas_;  // null: not found
  Timer timer_;
};

}  // namespace sluice::bench
