// Activations between blocks: fp32, row-major, one row per token of the batch.
#pragma once

#include <cstdint>
#include <cstring>

#include <sluice/tensor.hpp>

#include "base/aligned_buffer.hpp"

namespace sluice {

class Matrix {
 public:
  // Contents are lost. Memory is kept for the next call and only ever grows.
  void resize(std::int64_t rows, std::int64_t columns) {
    const auto bytes = static_cast<std::size_t>(rows * columns) * sizeof(float);
    if (bytes > buffer_.size()) buffer_ = AlignedBuffer(bytes);
    rows_ = rows;
    columns_ = columns;
  }
  std::int64_t rows() const { return rows_; }
  std::int64_t columns() const { return columns_; }
  float* data() { return buffer_.as<float>(); }
  const float* data() const { return buffer_.as<float>(); }
  float* row(std::int64_t index) { return data() + index * columns_; }
  const float* row(std::int64_t index) const { return data() + index * columns_; }

  TensorView view() const { return {data(), DType::f32, {rows_, columns_}, {}}; }
  MutableTensorView view() { return {data(), DType::f32, {rows_, columns_}, {}}; }

 private:
  AlignedBuffer buffer_;
  std::int64_t rows_ = 0;
  std::int64_t columns_ = 0;
};

}  // namespace sluice
