// Multi-head latent attention without positions, as Kimi-Linear has it: no rotation, no gate.
#pragma once

#include "model/blocks/latent_attention.hpp"
#include "model/blocks/linear.hpp"
#include "model/blocks/mixer.hpp"
#include "model/blocks/norm.hpp"
#include "model/kimi_linear/config.hpp"
#include "model/weight_source.hpp"

namespace sluice::kimi_linear {

class MlaMixer final : public Mixer {
 public:
  // `stem` ends in "self_attn.".
  MlaMixer(const Config& config, double kv_a_layernorm_eps, const WeightSource& weights,
           const std::string& stem, Compute& compute);
  void operator()(Compute& compute, const Batch& batch, std::int64_t layer, const Matrix& h,
                  Matrix& out) override;
  std::unique_ptr<LayerState> new_state() const override;
  std::size_t bytes() const override;
  std::size_t state_fixed_bytes() const override { return 0; }
  std::size_t state_bytes_per_token() const override;

 private:
  Linear q_kv_a_proj_;
  RmsNorm kv_a_layernorm_;
  LatentAttention attention_;
  Linear o_proj_;

  Matrix& projected_;  // [rows, q | latent | pe]
  Matrix& attended_;   // [rows, heads · value]
};

}  // namespace sluice::kimi_linear
