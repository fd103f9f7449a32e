// Cuts one caller-given block of memory into typed, aligned parts. Run over nothing it only counts,
// so that the size asked for and the size used come from the same lines.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace sluice {

class Workspace {
 public:
  static constexpr std::size_t kAlignment = 64;  // a cache line, and a full vector

  Workspace() = default;  // counts only: parts have no data
  explicit Workspace(std::byte* base) : base_(base) {}

  template <typename T>
  std::span<T> take(std::int64_t count) {
    const std::size_t begin = used_;
    used_ +=
        (static_cast<std::size_t>(count) * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
    if (base_ == nullptr) return {};
    return {reinterpret_cast<T*>(base_ + begin), static_cast<std::size_t>(count)};
  }

  std::size_t used() const { return used_; }

 private:
  std::byte* base_ = nullptr;
  std::size_t used_ = 0;
};

}  // namespace sluice
