#include "model/blocks/norm.hpp"

#include <cmath>

#include "base/element.hpp"
#include "model/blocks/parallel.hpp"
#include "model/blocks/primitives.hpp"

namespace sluice {

std::vector<float> to_floats(const TensorView& tensor) {
  std::vector<float> values(static_cast<std::size_t>(tensor.shape.elements()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = load_float(tensor.data, tensor.dtype, static_cast<std::int64_t>(i));
  }
  return values;
}

RmsNorm::RmsNorm(const TensorView& weight, double eps)
    : weight_(to_floats(weight)), eps_(static_cast<float>(eps)) {}

void RmsNorm::vector(const float* x, float* out) const {
  const std::int64_t n = width();
  const float mean = primitives().sum_squares(x, n) / static_cast<float>(n);
  const float inverse = 1.0f / std::sqrt(mean + eps_);
  for (std::int64_t i = 0; i < n; ++i)
    out[i] = weight_[static_cast<std::size_t>(i)] * (x[i] * inverse);
}

void RmsNorm::operator()(Compute& compute, const Matrix& x, Matrix& out) const {
  if (&out != &x) out.resize(x.rows(), x.columns());
  parallel_rows(*compute.executor, x.rows(), row_grain(x.columns()),
                [&](std::int64_t first, std::int64_t last) {
                  for (std::int64_t row = first; row < last; ++row)
                    vector(x.row(row), out.row(row));
                });
}

void add_rows(Compute& compute, Matrix& x, const Matrix& y) {
  parallel_rows(*compute.executor, x.rows(), row_grain(x.columns()),
                [&](std::int64_t first, std::int64_t last) {
                  float* to = x.row(first);
                  const float* from = y.row(first);
                  for (std::int64_t i = 0; i < (last - first) * x.columns(); ++i) to[i] += from[i];
                });
}

}  // namespace sluice
