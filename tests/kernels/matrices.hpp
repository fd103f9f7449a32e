// Random matrices in the formats that kernels take, and what they mean in double.
#pragma once

#include <sluice/tensor.hpp>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "base/element.hpp"

namespace sluice::test {

// [rows, cols] of one dtype; `values` are what the stored elements mean.
struct Matrix {
  Matrix(std::int64_t rows, std::int64_t cols, DType dtype, std::uint32_t seed)
      : rows(rows),
        cols(cols),
        dtype(dtype),
        bytes(static_cast<std::size_t>(rows * cols * bits(dtype) / 8)),
        values(static_cast<std::size_t>(rows * cols)) {
    std::mt19937 generator(seed);
    std::normal_distribution<float> normal;
    for (std::int64_t i = 0; i < rows * cols; ++i) {
      store_float(bytes.data(), dtype, i, normal(generator));
      values[static_cast<std::size_t>(i)] = load_float(bytes.data(), dtype, i);
    }
  }

  TensorView view() const { return {bytes.data(), dtype, {rows, cols}, {}}; }
  double at(std::int64_t row, std::int64_t col) const {
    return values[static_cast<std::size_t>(row * cols + col)];
  }

  std::int64_t rows;
  std::int64_t cols;
  DType dtype;
  std::vector<std::byte> bytes;
  std::vector<float> values;
};

// n u / (1 - n u): relative to sum|a b|, the error of n fp32 operations in a chain (Higham).
inline double gamma(std::int64_t n) {
  const double nu = static_cast<double>(n) * 0x1p-24;
  return nu / (1 - nu);
}

}  // namespace sluice::test
