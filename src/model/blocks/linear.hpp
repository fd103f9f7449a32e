// y = x Wᵀ with weights in their own dtype, packed once. Several matrices that read the same input
// are one Linear: their rows are stacked, and the input is rounded once.
#pragma once

#include <span>

#include <sluice/tensor.hpp>

#include "kernels/linear.hpp"
#include "kernels/packed_matrix.hpp"
#include "model/blocks/compute.hpp"
#include "model/blocks/matrix.hpp"

namespace sluice {

class Linear {
 public:
  Linear() = default;
  Linear(std::span<const TensorView> parts, Executor& executor);
  Linear(const TensorView& weight, Executor& executor) : Linear(std::span(&weight, 1), executor) {}

  // out is resized to [x.rows, rows of all parts].
  void operator()(Compute& compute, const Matrix& x, Matrix& out) const;
  // out [x.rows, rows of all parts] is the caller's.
  void operator()(Compute& compute, const Matrix& x, float* out) const;
  // x is not rounded, whatever the precision.
  void in_f32(Compute& compute, const Matrix& x, Matrix& out) const;

  std::int64_t out_features() const { return weight_.rows(); }
  std::size_t bytes() const { return weight_.bytes(); }

 private:
  PackedMatrix weight_;
};

// The format that holds the values of all `parts` exactly: their common dtype, or f32.
PackedFormat common_format(std::span<const TensorView> parts);

// A row of bf16 in whole cache lines, an odd number of them: 16 rows, which products read side by
// side, do not fall on the same sets of a cache. In elements.
inline std::int64_t spread_stride(std::int64_t columns) { return ((columns + 31) / 32 | 1) * 32; }
// x rounded to bf16, as fp32 in compute's scratch, for weights that are not bf16.
float* round_rows_in_f32(Compute& compute, const Matrix& x);

}  // namespace sluice
