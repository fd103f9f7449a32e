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
  Executor& executor = *compute.executor;
  out.resize(h.rows(), down_.rows());
  const RowsView<float> result{out.data(), out.rows(), out.columns()};
  if (compute.precision == ActivationPrecision::f32) {
    activated_.resize(h.rows(), width_);
    gated_linear(gate_up_, Activation::swiglu,
                 RowsView<const float>{h.data(), h.rows(), h.columns()},
                 {activated_.data(), h.rows(), width_}, executor);
    linear(down_, RowsView<const float>{activated_.data(), h.rows(), width_}, result, executor);
    return;
  }
  rounded_.resize(static_cast<std::size_t>(h.rows() * width_));
  gated_linear(gate_up_, Activation::swiglu,
               RowsView<const std::uint16_t>{round_rows(compute, h), h.rows(), h.columns()},
               {rounded_.data(), h.rows(), width_}, executor);
  linear(down_, RowsView<const std::uint16_t>{rounded_.data(), h.rows(), width_}, result, executor);
}

}  // namespace sluice
