// Owned memory of a device: grows when asked to, and is given back.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <utility>

#include <sluice/backend.hpp>

namespace sluice {

class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  DeviceBuffer(std::shared_ptr<const DeviceMemory> memory, std::size_t bytes)
      : memory_(std::move(memory)), data_(memory_->allocate(bytes)), bytes_(bytes) {}
  DeviceBuffer(DeviceBuffer&& other) noexcept { swap(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    DeviceBuffer(std::move(other)).swap(*this);
    return *this;
  }
  ~DeviceBuffer() {
    if (data_ != nullptr) memory_->release(data_);
  }

  // Contents are lost. The old memory goes first, so that both never stand together.
  void grow(const std::shared_ptr<const DeviceMemory>& memory, std::size_t bytes) {
    if (bytes <= bytes_) return;
    *this = DeviceBuffer();
    *this = DeviceBuffer(memory, bytes);
  }
  std::byte* data() const { return static_cast<std::byte*>(data_); }
  std::size_t size() const { return bytes_; }

 private:
  void swap(DeviceBuffer& other) {
    std::swap(memory_, other.memory_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
  }

  std::shared_ptr<const DeviceMemory> memory_;
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace sluice
