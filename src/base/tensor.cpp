#include <sluice/tensor.hpp>

#include "base/checked.hpp"
#include "base/fail.hpp"

namespace sluice {

Shape::Shape(std::initializer_list<std::int64_t> extents) {
  for (std::int64_t extent : extents) append(extent);
}

void Shape::append(std::int64_t extent) {
  if (rank_ == kMaxRank) {
    fail(ErrorKind::user, "a tensor has more than {} dimensions; reshape it", kMaxRank);
  }
  extents_[static_cast<std::size_t>(rank_++)] = extent;
}

std::int64_t Shape::elements() const {
  // An extent of 0 makes any others harmless, so it is looked for first.
  for (int axis = 0; axis < rank_; ++axis) {
    if ((*this)[axis] == 0) return 0;
  }
  std::int64_t product = 1;
  for (int axis = 0; axis < rank_; ++axis) {
    const auto next = checked_mul(product, (*this)[axis]);
    if (!next) fail(ErrorKind::user, "shape {} has more than 2^63 elements", to_string(*this));
    product = *next;
  }
  return product;
}

std::string to_string(const Device& device) {
  return device.kind == DeviceKind::cpu ? "cpu" : "cuda:" + std::to_string(device.index);
}

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (axis > 0) text += ", ";
    text += std::to_string(shape[axis]);
  }
  return text + "]";
}

}  // namespace sluice
