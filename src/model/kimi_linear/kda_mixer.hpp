// Kimi Delta Attention: short convolutions, normalised q and k, decay per channel, the delta rule,
// and a gated norm on the output.
#pragma once

#include "model/blocks/delta_rule.hpp"
#include "model/blocks/linear.hpp"
#include "model/blocks/mixer.hpp"
#include "model/blocks/norm.hpp"
#include "model/blocks/short_conv.hpp"
#include "model/kimi_linear/config.hpp"
#include "model/weight_source.hpp"

namespace sluice::kimi_linear {

// Fixed in size, however long the sequence.
struct KdaState final : LayerState {
  KdaState(std::size_t tail_size, std::size_t state_size)
      : tail(tail_size, 0.0f), recurrent(state_size, 0.0f) {}
  std::size_t bytes() const override { return (tail.size() + recurrent.size()) * sizeof(float); }
  std::unique_ptr<LayerState> clone() const override { return std::make_unique<KdaState>(*this); }

  std::vector<float> tail;       // [taps - 1, q | k | v]: projections before the convolution
  std::vector<float> recurrent;  // [heads, head_dim, head_dim]
};

class KdaMixer final : public Mixer {
 public:
  // `stem` ends in "self_attn.".
  KdaMixer(const Config& config, const WeightSource& weights, const std::string& stem,
           Compute& compute);
  void operator()(Compute& compute, const Batch& batch, std::int64_t layer, const Matrix& h,
                  Matrix& out) override;
  std::unique_ptr<LayerState> new_state() const override;
  std::size_t bytes() const override;
  std::size_t state_fixed_bytes() const override;
  std::size_t state_bytes_per_token() const override { return 0; }

 private:
  void convolve(Compute& compute, const Batch& batch, std::int64_t layer);
  void normalise_queries_and_keys(float* qkv) const;
  void compute_gates(Compute& compute, const Matrix& h);
  void norm_and_gate(Compute& compute);

  std::int64_t heads_;
  std::int64_t dim_;
  std::int64_t width_;  // heads · dim
  Linear q_k_v_b_proj_;
  Linear f_a_proj_, f_b_proj_;  // the decay's two factors
  Linear g_a_proj_, g_b_proj_;  // the output gate's
  Linear o_proj_;
  ShortConv conv_;
  std::vector<float> decay_rate_;  // exp(A_log) [heads]
  std::vector<float> dt_bias_;     // [width]
  RmsNorm o_norm_;                 // over a head's dim
  DeltaRule delta_rule_;

  Matrix& projected_;  // [rows, q | k | v | b]
  Matrix& qkv_;        // [rows, q | k | v], convolved
  Matrix& low_rank_;   // [rows, dim]
  Matrix& g_;          // [rows, width], log decay
  Matrix& beta_;       // [rows, heads]
  Matrix& gate_;       // [rows, width]
  Matrix& mixed_;      // [rows, width]
};

}  // namespace sluice::kimi_linear
