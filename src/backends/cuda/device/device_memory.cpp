#include "backends/cuda/device/device_memory.hpp"

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include "backends/cuda/device/device.hpp"
#include "backends/cuda/device/error.hpp"
#include "base/fail.hpp"

namespace sluice::cuda {
namespace {

void* allocate_on(int device, std::size_t bytes) {
  const DeviceScope scope(device);
  void* memory = nullptr;
  if (cudaMalloc(&memory, bytes) == cudaSuccess) return memory;
  const cudaError_t result = cudaGetLastError();
  if (result != cudaErrorMemoryAllocation) check(result, fmt::format("cudaMalloc of {}", bytes));
  std::size_t free = 0;
  std::size_t total = 0;
  check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  fail(ErrorKind::device,
       "device {} has {} bytes free of {}, {} are needed; free memory there, send fewer tokens or "
       "hold fewer experts on this rank",
       device, free, total, bytes);
}

void release_on(int device, void* memory) noexcept {
  if (memory == nullptr) return;
  int before = device;
  cudaGetDevice(&before);
  if (before != device) cudaSetDevice(device);
  if (cudaFree(memory) != cudaSuccess) cudaGetLastError();  // a destructor cannot report
  if (before != device) cudaSetDevice(before);
}

class CudaMemory final : public DeviceMemory {
 public:
  explicit CudaMemory(int device) : device_(device) {}
  void* allocate(std::size_t bytes) const override { return allocate_on(device_, bytes); }
  void release(void* memory) const noexcept override { release_on(device_, memory); }

  void copy_in(void* device, const void* host, std::size_t bytes, void* stream) const override {
    copy(device, host, bytes, cudaMemcpyHostToDevice, stream);
  }
  void copy_out(void* host, const void* device, std::size_t bytes, void* stream) const override {
    copy(host, device, bytes, cudaMemcpyDeviceToHost, stream);
  }
  bool recording(void* stream) const override {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    check(cudaStreamIsCapturing(static_cast<cudaStream_t>(stream), &status),
          "cudaStreamIsCapturing");
    return status != cudaStreamCaptureStatusNone;
  }

 private:
  void copy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
            void* stream) const {
    if (bytes == 0) return;
    const DeviceScope scope(device_);
    const auto queue = static_cast<cudaStream_t>(stream);
    check(cudaMemcpyAsync(to, from, bytes, kind, queue), fmt::format("a copy of {} bytes", bytes));
    check(cudaStreamSynchronize(queue), "cudaStreamSynchronize after a copy");
  }
  int device_;
};

}  // namespace

DeviceBuffer::DeviceBuffer(int device, std::size_t bytes)
    : device_(device),
      data_(bytes == 0 ? nullptr : static_cast<std::byte*>(allocate_on(device, bytes))),
      size_(bytes) {}

DeviceBuffer::~DeviceBuffer() { release_on(device_, data_); }

std::shared_ptr<const DeviceMemory> device_memory(int device) {
  return std::make_shared<CudaMemory>(device);
}

}  // namespace sluice::cuda
