#include "model/blocks/feed_forward.hpp"

namespace sluice {

MoeBlock::MoeBlock(MoeLayer layer, const TensorView& router_weight, Executor& executor)
    : layer_(std::move(layer)), router_(router_weight, executor) {}

void MoeBlock::operator()(Compute& compute, const Matrix& h, Matrix& out) {
  Matrix& logits = compute.matrix(0);
  {
    const Stopwatch watch(compute.times.router);
    router_.in_f32(compute, h, logits);
  }
  const Stopwatch watch(compute.times.experts);
  out.resize(h.rows(), h.columns());
  ForwardInput input;
  input.hidden_states = h.view();
  input.router_logits = std::as_const(logits).view();
  ForwardOutput output;
  output.output = out.view();
  layer_.forward(input, output);
}

}  // namespace sluice
