// Views of dense row-major tensors. A view owns nothing and never allocates.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

#include <sluice/dtype.hpp>

namespace sluice {

enum class DeviceKind : std::uint8_t { cpu, cuda };

struct Device {
  DeviceKind kind = DeviceKind::cpu;
  int index = 0;
  friend bool operator==(const Device&, const Device&) = default;
};

std::string to_string(const Device& device);  // "cpu", "cuda:1"

// Up to four dimensions, 64-bit extents.
class Shape {
 public:
  static constexpr int kMaxRank = 4;
  Shape() = default;
  Shape(std::initializer_list<std::int64_t> extents);  // throws Error(user) beyond kMaxRank
  int rank() const { return rank_; }
  std::int64_t operator[](int axis) const { return extents_[static_cast<std::size_t>(axis)]; }
  std::int64_t elements() const;  // 1 for a scalar; throws Error(user) on overflow
  void append(std::int64_t extent);
  friend bool operator==(const Shape&, const Shape&) = default;

 private:
  std::array<std::int64_t, kMaxRank> extents_{};
  int rank_ = 0;
};

std::string to_string(const Shape& shape);  // "[128, 2048]"

// `data` may be unaligned (safetensors allows it): readers copy, or check before they cast.
template <typename Byte>
struct BasicTensorView {
  Byte* data = nullptr;
  DType dtype = DType::f32;
  Shape shape;
  Device device;

  bool empty() const { return data == nullptr; }  // "not given"
  explicit operator bool() const { return data != nullptr; }
  operator BasicTensorView<const void>() const { return {data, dtype, shape, device}; }
};

using TensorView = BasicTensorView<const void>;
using MutableTensorView = BasicTensorView<void>;

}  // namespace sluice
