// Memory with a fence on both sides: a write outside shows, without a sanitizer.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "audit/run_case.hpp"
#include "base/aligned_buffer.hpp"

namespace sluice::auditing {

class FencedBuffer {
 public:
  FencedBuffer() = default;
  FencedBuffer(std::size_t bytes, Poison poison) : memory_(bytes + 2 * kFence), bytes_(bytes) {
    mend();
    fill(poison);
  }

  // Aligned to kWorkspaceAlignment.
  std::byte* data() { return memory_.data() + kFence; }
  const std::byte* data() const { return memory_.data() + kFence; }
  std::size_t size() const { return bytes_; }
  bool exists() const { return memory_.size() != 0; }

  void fill(Poison poison) {
    // 0xff bytes are a NaN in every float format, -1 as an id.
    const int byte = poison == Poison::nan ? 0xff : poison == Poison::ones ? 0x3f : 0;
    std::memset(data(), byte, bytes_);
  }
  bool intact() const {
    const auto whole = [](const std::byte* at) {
      return std::all_of(at, at + kFence, [](std::byte b) { return b == kMark; });
    };
    return whole(memory_.data()) && whole(data() + bytes_);
  }
  void mend() {
    std::memset(memory_.data(), static_cast<int>(kMark), kFence);
    std::memset(data() + bytes_, static_cast<int>(kMark), kFence);
  }

 private:
  static constexpr std::size_t kFence = 4096;  // a tile of 16 rows of 128 bf16 values
  static constexpr std::byte kMark{0xa5};
  AlignedBuffer memory_;
  std::size_t bytes_ = 0;
};

}  // namespace sluice::auditing
