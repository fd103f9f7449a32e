#include "model/blocks/norm.hpp"

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
  primitives().rms_norm(x, weight_.data(), eps_, out, width());
}

void RmsNorm::operator()(Compute& compute, const Matrix& x, Matrix& out) const {
  if (&out != &x) out.resize(x.rows(), x.columns());
  parallel_rows(*compute.executor, x.rows(), row_grain(x.columns()),
                [&](std::int64_t first, std::int64_t last) {
                  for (std::int64_t row = first; row < last; ++row)
                    vector(x.row(row), out.row(row));
                });
}

void add_and_norm(Compute& compute, Matrix& x, Matrix& branch, const RmsNorm* branch_norm,
                  const RmsNorm* next, Matrix& h) {
  if (next != nullptr) h.resize(x.rows(), x.columns());
  parallel_rows(*compute.executor, x.rows(), row_grain(x.columns()),
                [&](std::int64_t first, std::int64_t last) {
                  for (std::int64_t row = first; row < last; ++row) {
                    if (branch_norm != nullptr)
                      branch_norm->vector(branch.row(row), branch.row(row));
                    primitives().add(x.row(row), branch.row(row), x.columns());
                    if (next != nullptr) next->vector(x.row(row), h.row(row));
                  }
                });
}

}  // namespace sluice
