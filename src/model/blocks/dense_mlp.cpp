#include "kernels/linear.hpp"
#include "model/blocks/feed_forward.hpp"

namespace sluice {

DenseMlp::DenseMlp(const TensorView& gate, const TensorView& up, const TensorView& down,
                   Executor& executor)
    : gate_up_(PackedMatrix::gate_up(gate, up, common_format(std::array{gate, up}), executor)),
      down_(std::span(&down, 1), common_format(std::span(&down, 1)), executor),
      width_(gate.shape[0]) {}

void DenseMlp::operator()(Compute& compute, const Matrix& h, Matrix& out) {
  const Stopwatch watch(compute.times.dense_mlp);
  const bool rounds = compute.precision == ActivationPrecision::bf16;
  out.resize(h.rows(), down_.rows());
  if (rounds && gate_up_.format() == PackedFormat::bf16 && down_.format() == PackedFormat::bf16) {
    return in_bf16(compute, h, out);
  }
  Executor& executor = *compute.executor;
  Matrix& activated = compute.matrix(0);
  activated.resize(h.rows(), width_);
  const float* x = rounds ? round_rows_in_f32(compute, h) : h.data();
  gated_linear(gate_up_, Activation::swiglu, RowsView<const float>{x, h.rows(), h.columns()},
               {activated.data(), h.rows(), width_}, executor);
  x = rounds ? round_rows_in_f32(compute, activated) : activated.data();
  linear(down_, RowsView<const float>{x, h.rows(), width_}, {out.data(), h.rows(), out.columns()},
         executor);
}

void DenseMlp::in_bf16(Compute& compute, const Matrix& h, Matrix& out) {
  Executor& executor = *compute.executor;
  const std::int64_t stride = spread_stride(width_);
  rounded_.resize(static_cast<std::size_t>(h.rows() * stride));
  gated_linear_of_rounded(gate_up_, Activation::swiglu,
                          RowsView<const float>{h.data(), h.rows(), h.columns()},
                          {rounded_.data(), h.rows(), stride}, executor);
  linear(down_, RowsView<const std::uint16_t>{rounded_.data(), h.rows(), stride},
         {out.data(), h.rows(), out.columns()}, executor);
}

}  // namespace sluice
