// A tensor that crosses the boundary: a view of an array that Python owns, or memory of ours.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <memory>
#include <optional>
#include <string>

#include <sluice/tensor.hpp>

#include "base/aligned_buffer.hpp"

namespace sluice::python {

namespace nb = nanobind;

class Tensor {
 public:
  // Views `array` (NumPy, or anything with __dlpack__), which stays alive with the Tensor. `dtype`
  // names what the elements mean when the array's own type cannot say it (a uint16 array of BF16).
  // Throws Error(user) for strided arrays, foreign types and devices, and, if `writable`, for
  // read-only arrays.
  Tensor(const nb::object& array, const std::optional<std::string>& dtype, bool writable);
  // Uninitialised memory of our own.
  Tensor(DType dtype, const Shape& shape);

  TensorView view() const { return view_; }
  MutableTensorView mutable_view() const;
  bool writable() const { return writable_; }
  const nb::object& array() const { return array_; }
  std::int64_t bytes() const;

 private:
  nb::object array_;                        // as given; invalid for our own memory
  nb::ndarray<nb::ro> borrowed_;            // keeps the array's memory
  std::shared_ptr<AlignedBuffer> storage_;  // or our own
  MutableTensorView view_;
  bool writable_ = false;
};

// A tensor of our own holding what `view` shows. Host memory only.
Tensor copy_of(const TensorView& view);

inline TensorView view_or_nothing(const Tensor* tensor) {
  return tensor == nullptr ? TensorView{} : tensor->view();
}

}  // namespace sluice::python
