#include "audit/faults/part_of_output.hpp"

#include <cstring>

namespace sluice::auditing {
namespace {

std::size_t row_bytes(const MutableTensorView& output) {
  return static_cast<std::size_t>(output.shape[1] * bits(output.dtype) / 8);
}

}  // namespace

std::byte* output_row(const MutableTensorView& output, std::int64_t token) {
  return static_cast<std::byte*>(output.data) + static_cast<std::size_t>(token) * row_bytes(output);
}

void leave_unwritten(Call& call, std::int64_t first, std::int64_t end) {
  const OwnedTensor before = OwnedTensor::copy_of(call.output.output);
  call.forward();
  if (first >= end) return;
  const std::size_t bytes = row_bytes(call.output.output);
  std::memcpy(output_row(call.output.output, first),
              before.data() + static_cast<std::size_t>(first) * bytes,
              static_cast<std::size_t>(end - first) * bytes);
}

}  // namespace sluice::auditing
