// Device memory: what the layer asks for (DeviceMemory), and what a weight bank owns.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>

#include <sluice/backend.hpp>

namespace sluice::cuda {

class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  DeviceBuffer(int device, std::size_t bytes);
  ~DeviceBuffer();
  DeviceBuffer(DeviceBuffer&& other) noexcept { swap(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    swap(other);
    return *this;
  }
  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  void swap(DeviceBuffer& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }
  int device_ = 0;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

std::shared_ptr<const DeviceMemory> device_memory(int device);

}  // namespace sluice::cuda
