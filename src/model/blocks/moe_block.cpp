#include "model/blocks/feed_forward.hpp"

#include <algorithm>

namespace sluice {

MoeBlock::MoeBlock(MoeLayer layer, const TensorView& router_weight, Executor& executor)
    : layer_(std::move(layer)), router_(router_weight, executor) {}

void MoeBlock::operator()(Compute& compute, const Matrix& h, Matrix& out) {
  {
    const Stopwatch watch(compute.times.router);
    router_.in_f32(compute, h, logits_);
  }
  const Stopwatch watch(compute.times.experts);
  out.resize(h.rows(), h.columns());
  ForwardInput input;
  input.hidden_states = h.view();
  input.router_logits = std::as_const(logits_).view();
  ForwardOutput output;
  output.output = out.view();
  layer_.forward(input, output);
}

SingleExpertMoeBlock::SingleExpertMoeBlock(MoeLayer layer, const TensorView& router_weight,
                                           const TensorView& e_score_correction_bias,
                                           Executor& executor)
    : layer_(std::move(layer)),
      linear_(router_weight, executor),
      router_(layer_.spec().router, {}, e_score_correction_bias) {}

void SingleExpertMoeBlock::operator()(Compute& compute, const Matrix& h, Matrix& out) {
  {
    const Stopwatch watch(compute.times.router);
    linear_.in_f32(compute, h, logits_);
    ids_.resize(static_cast<std::size_t>(h.rows()));
    weights_.resize(ids_.size());
    router_.route(
        {.logits = std::as_const(logits_).view(),
         .last = h.rows(),
         .ids = ids_,
         .weights = weights_,
         .workspace = {compute.scratch(router_.workspace_bytes()), router_.workspace_bytes()}});
  }
  const Stopwatch watch(compute.times.experts);
  const auto scale = static_cast<float>(layer_.spec().router.routed_scaling_factor);
  std::fill(weights_.begin(), weights_.end(), scale);
  out.resize(h.rows(), h.columns());
  ForwardInput input;
  input.hidden_states = h.view();
  input.topk_ids = {ids_.data(), DType::i32, {h.rows(), 1}, {}};
  input.topk_weights = {weights_.data(), DType::f32, {h.rows(), 1}, {}};
  ForwardOutput output;
  output.output = out.view();
  layer_.forward(input, output);
}

}  // namespace sluice
