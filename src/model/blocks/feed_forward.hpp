// The second half of a decoder layer: a dense MLP or a MoE.
#pragma once

#include <memory>
#include <vector>

#include <sluice/layer.hpp>

#include "model/blocks/compute.hpp"
#include "model/blocks/linear.hpp"
#include "model/blocks/matrix.hpp"

namespace sluice {

class FeedForward {
 public:
  virtual ~FeedForward() = default;
  // h and out [rows, hidden]
  virtual void operator()(Compute& compute, const Matrix& h, Matrix& out) = 0;
  virtual const MoeLayer* moe_layer() const { return nullptr; }
  virtual std::size_t bytes() const = 0;
};

// down(silu(gate(h)) · up(h))
class DenseMlp final : public FeedForward {
 public:
  DenseMlp(const TensorView& gate, const TensorView& up, const TensorView& down,
           Executor& executor);
  void operator()(Compute& compute, const Matrix& h, Matrix& out) override;
  std::size_t bytes() const override { return gate_up_.bytes() + down_.bytes(); }

 private:
  void in_bf16(Compute& compute, const Matrix& h, Matrix& out);

  PackedMatrix gate_up_;
  PackedMatrix down_;
  std::int64_t width_;
  std::vector<std::uint16_t> rounded_;  // bf16 activations
};

// Router logits in fp32, then the MoeLayer.
class MoeBlock final : public FeedForward {
 public:
  MoeBlock(MoeLayer layer, const TensorView& router_weight, Executor& executor);
  void operator()(Compute& compute, const Matrix& h, Matrix& out) override;
  const MoeLayer* moe_layer() const override { return &layer_; }
  std::size_t bytes() const override { return router_.bytes() + layer_.weight_bytes(); }

 private:
  MoeLayer layer_;
  Linear router_;
};

}  // namespace sluice
