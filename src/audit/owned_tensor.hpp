// A host tensor that owns its bytes: what cases are made of and faults edit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <sluice/tensor.hpp>

#include "base/element.hpp"

namespace sluice::auditing {

class OwnedTensor {
 public:
  OwnedTensor() = default;
  OwnedTensor(DType dtype, const Shape& shape)
      : dtype_(dtype),
        shape_(shape),
        bytes_(static_cast<std::size_t>((shape.elements() * bits(dtype) + 7) / 8)) {}

  static OwnedTensor copy_of(const TensorView& view) {
    OwnedTensor copy(view.dtype, view.shape);
    if (!copy.bytes_.empty()) std::memcpy(copy.bytes_.data(), view.data, copy.bytes_.size());
    return copy;
  }

  // A scalar has no rank either, but an element.
  bool given() const { return shape_.rank() > 0 || !bytes_.empty(); }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  std::int64_t elements() const { return shape_.elements(); }
  std::byte* data() { return bytes_.data(); }
  const std::byte* data() const { return bytes_.data(); }
  std::size_t size_bytes() const { return bytes_.size(); }

  float get(std::int64_t index) const { return load_float(bytes_.data(), dtype_, index); }
  void set(std::int64_t index, float value) { store_float(bytes_.data(), dtype_, index, value); }
  std::int64_t id(std::int64_t index) const { return load_int(bytes_.data(), dtype_, index); }

  // Empty tensors keep a non-null address: a view without one means "not given".
  TensorView view() const {
    if (!given()) return {};
    static constexpr std::byte kNothing{};
    return {bytes_.empty() ? &kNothing : bytes_.data(), dtype_, shape_, {}};
  }
  MutableTensorView mutable_view() {
    if (!given()) return {};
    static std::byte nothing{};
    return {bytes_.empty() ? &nothing : bytes_.data(), dtype_, shape_, {}};
  }

 private:
  DType dtype_ = DType::f32;
  Shape shape_;
  std::vector<std::byte> bytes_;
};

// Any plain float tensor as fp32 values.
inline std::vector<float> to_floats(const TensorView& view) {
  std::vector<float> values(static_cast<std::size_t>(view.shape.elements()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = load_float(view.data, view.dtype, static_cast<std::int64_t>(i));
  }
  return values;
}

}  // namespace sluice::auditing
