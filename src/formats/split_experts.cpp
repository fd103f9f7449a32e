#include <sluice/weights.hpp>

#include "base/fail.hpp"

namespace sluice {

ExpertMatrices split_experts(const TensorView& stacked) {
  if (stacked.empty()) fail(ErrorKind::user, "split_experts was given no tensor");
  if (stacked.shape.rank() == 0) {
    fail(ErrorKind::user, "{} [] is one number; stack the experts' as [experts, …]",
         to_string(stacked.dtype));
  }
  for (int axis = 0; axis < stacked.shape.rank(); ++axis) {
    if (stacked.shape[axis] >= 0) continue;
    fail(ErrorKind::user, "{} {} has the extent {}; extents are 0 or more",
         to_string(stacked.dtype), to_string(stacked.shape), stacked.shape[axis]);
  }
  Shape one;
  for (int axis = 1; axis < stacked.shape.rank(); ++axis) one.append(stacked.shape[axis]);
  // F4 holds two elements in a byte: an expert must not start in the middle of one.
  const std::int64_t expert_bits = one.elements() * bits(stacked.dtype);
  if (expert_bits % 8 != 0) {
    fail(ErrorKind::user, "one expert of {} {} is not a whole number of bytes",
         to_string(stacked.dtype), to_string(stacked.shape));
  }
  ExpertMatrices experts;
  experts.reserve(static_cast<std::size_t>(stacked.shape[0]));
  for (std::int64_t expert = 0; expert < stacked.shape[0]; ++expert) {
    const auto* data = static_cast<const std::byte*>(stacked.data) + expert * (expert_bits / 8);
    experts.push_back({data, stacked.dtype, one, stacked.device});
  }
  return experts;
}

}  // namespace sluice
