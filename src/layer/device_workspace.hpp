// The experts' workspace on a device, between the calls of one layer.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "backends/device_buffer.hpp"
#include "base/fail.hpp"

namespace sluice {

class DeviceWorkspace {
 public:
  // At least so many bytes for a call on `stream`. What was recorded replays with the memory that
  // it was recorded with: from the first such call on, outgrown memory is kept as long as the
  // layer. Throws Error(device) where a call that is being recorded needs more than there is.
  std::byte* at_least(std::size_t bytes, const std::shared_ptr<const DeviceMemory>& memory,
                      void* stream) {
    const bool recording = memory->recording(stream);
    if (bytes > current_.size()) {
      if (recording) {
        fail(
            ErrorKind::device,
            "inside a capture the workspace cannot grow from {} to {} bytes; make one call of that "
            "many tokens before the capture",
            current_.size(), bytes);
      }
      if (recorded_) outgrown_.push_back(std::move(current_));
      current_.grow(memory, bytes);
    }
    recorded_ |= recording;
    return current_.data();
  }

 private:
  DeviceBuffer current_;
  std::vector<DeviceBuffer> outgrown_;
  bool recorded_ = false;
};

}  // namespace sluice
