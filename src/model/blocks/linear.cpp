#include "model/blocks/linear.hpp"

#include "kernels/isa_list.hpp"
#include "model/blocks/parallel.hpp"

namespace sluice {

PackedFormat common_format(std::span<const TensorView> parts) {
  for (const TensorView& part : parts) {
    if (part.dtype != parts.front().dtype) return PackedFormat::f32;
  }
  return packed_format_of(parts.front().dtype);
}

float* round_rows_in_f32(Compute& compute, const Matrix& x) {
  auto* rounded = reinterpret_cast<float*>(
      compute.scratch(static_cast<std::size_t>(x.rows() * x.columns()) * sizeof(float)));
  parallel_rows(*compute.executor, x.rows(), row_grain(x.columns()),
                [&](std::int64_t first, std::int64_t last) {
                  default_isa().convert({x.row(first), rounded + first * x.columns(),
                                         (last - first) * x.columns(), RowFormat::f32,
                                         RowFormat::f32_bf16, 1.0f});
                });
  return rounded;
}

Linear::Linear(std::span<const TensorView> parts, Executor& executor)
    : weight_(parts, common_format(parts), executor) {}

void Linear::operator()(Compute& compute, const Matrix& x, Matrix& out) const {
  out.resize(x.rows(), weight_.rows());
  (*this)(compute, x, out.data());
}

void Linear::operator()(Compute& compute, const Matrix& x, float* out) const {
  const RowsView<float> result{out, x.rows(), weight_.rows()};
  if (compute.precision == ActivationPrecision::f32) {
    linear(weight_, RowsView<const float>{x.data(), x.rows(), x.columns()}, result,
           *compute.executor);
    return;
  }
  if (weight_.format() == PackedFormat::bf16) {
    linear_of_rounded(weight_, RowsView<const float>{x.data(), x.rows(), x.columns()}, result,
                      *compute.executor);
    return;
  }
  linear(weight_, RowsView<const float>{round_rows_in_f32(compute, x), x.rows(), x.columns()},
         result, *compute.executor);
}

void Linear::in_f32(Compute& compute, const Matrix& x, Matrix& out) const {
  out.resize(x.rows(), weight_.rows());
  linear(weight_, RowsView<const float>{x.data(), x.rows(), x.columns()},
         {out.data(), out.rows(), out.columns()}, *compute.executor);
}

}  // namespace sluice
