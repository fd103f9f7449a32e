#include "model/kimi_linear/kda_mixer.hpp"

#include <array>
#include <cmath>

#include "model/blocks/parallel.hpp"
#include "model/blocks/primitives.hpp"
#include "model/kimi_linear/names.hpp"

namespace sluice::kimi_linear {
namespace {

ShortConv load_conv(const WeightSource& weights, const std::string& stem, std::int64_t taps) {
  const std::string fused = stem + "conv1d.weight";
  if (weights.contains(fused)) return ShortConv(std::array{weights.tensor(fused)}, taps);
  return ShortConv(
      std::array{weights.tensor(stem + "q_conv1d.weight"), weights.tensor(stem + "k_conv1d.weight"),
                 weights.tensor(stem + "v_conv1d.weight")},
      taps);
}

}  // namespace

KdaMixer::KdaMixer(const Config& config, const WeightSource& weights, const std::string& stem,
                   Compute& compute)
    : heads_(config.kda_heads),
      dim_(config.kda_head_dim),
      width_(config.kda_width()),
      conv_(load_conv(weights, stem, config.conv_taps)),
      delta_rule_({.heads = heads_, .head_dim = dim_}),
      projected_(compute.matrix(0)),
      qkv_(compute.matrix(1)),
      low_rank_(compute.matrix(2)),
      g_(compute.matrix(3)),
      beta_(compute.matrix(4)),
      gate_(compute.matrix(5)),
      mixed_(compute.matrix(6)) {
  Executor& executor = *compute.executor;
  const auto tensor = [&](const char* name) { return weights.first_of(spellings(stem + name)); };
  q_k_v_b_proj_ = Linear(std::array{tensor("q_proj.weight"), tensor("k_proj.weight"),
                                    tensor("v_proj.weight"), tensor("b_proj.weight")},
                         executor);
  f_a_proj_ = Linear(tensor("f_a_proj.weight"), executor);
  f_b_proj_ = Linear(tensor("f_b_proj.weight"), executor);
  g_a_proj_ = Linear(tensor("g_a_proj.weight"), executor);
  g_b_proj_ = Linear(tensor("g_b_proj.weight"), executor);
  o_proj_ = Linear(tensor("o_proj.weight"), executor);
  decay_rate_ = to_floats(tensor("A_log"));
  for (float& rate : decay_rate_) rate = std::exp(rate);
  dt_bias_ = to_floats(tensor("dt_bias"));
  o_norm_ = RmsNorm(tensor("o_norm.weight"), config.rms_norm_eps);
}

void KdaMixer::operator()(Compute& compute, const Batch& batch, std::int64_t layer, const Matrix& h,
                          Matrix& out) {
  const Stopwatch watch(compute.times.attention);
  q_k_v_b_proj_(compute, h, projected_);
  convolve(compute, batch, layer);
  compute_gates(compute, h);

  std::vector<float*> states;
  for (const BatchEntry& entry : batch.entries()) {
    states.push_back(static_cast<KdaState&>(entry.sequence->layer(layer)).recurrent.data());
  }
  delta_rule_(compute, batch, states, {qkv_, g_, beta_}, mixed_);
  norm_and_gate(compute);
  o_proj_(compute, mixed_, out);
}

void KdaMixer::convolve(Compute& compute, const Batch& batch, std::int64_t layer) {
  qkv_.resize(batch.rows(), 3 * width_);
  for (const BatchEntry& entry : batch.entries()) {
    auto& state = static_cast<KdaState&>(entry.sequence->layer(layer));
    conv_(compute, entry, projected_.data(), projected_.columns(), state.tail, qkv_);
  }
  parallel_rows(*compute.executor, batch.rows(), row_grain(width_),
                [&](std::int64_t first, std::int64_t last) {
                  for (std::int64_t row = first; row < last; ++row) {
                    normalise_queries_and_keys(qkv_.row(row));
                  }
                });
}

void KdaMixer::normalise_queries_and_keys(float* qkv) const {
  constexpr float kEps = 1e-6f;  // under the root, not a floor
  const float scale = 1.0f / std::sqrt(static_cast<float>(dim_));
  for (std::int64_t head = 0; head < 2 * heads_; ++head) {
    float* z = qkv + head * dim_;
    const float norm = std::sqrt(primitives().sum_squares(z, dim_) + kEps);
    const float factor = head < heads_ ? scale : 1.0f;
    for (std::int64_t i = 0; i < dim_; ++i) z[i] = z[i] / norm * factor;
  }
}

void KdaMixer::compute_gates(Compute& compute, const Matrix& h) {
  f_a_proj_(compute, h, low_rank_);
  f_b_proj_(compute, low_rank_, g_);
  g_a_proj_(compute, h, low_rank_);
  g_b_proj_(compute, low_rank_, gate_);
  beta_.resize(h.rows(), heads_);
  parallel_rows(*compute.executor, h.rows(), row_grain(width_),
                [&](std::int64_t first, std::int64_t last) {
                  for (std::int64_t row = first; row < last; ++row) {
                    const float* b = projected_.row(row) + 3 * width_;
                    for (std::int64_t head = 0; head < heads_; ++head) {
                      beta_.row(row)[head] = 1.0f / (1.0f + std::exp(-b[head]));
                      float* g = g_.row(row) + head * dim_;
                      primitives().log_decay(g, dt_bias_.data() + head * dim_,
                                             decay_rate_[static_cast<std::size_t>(head)], g, dim_);
                    }
                  }
                });
}

void KdaMixer::norm_and_gate(Compute& compute) {
  parallel_rows(*compute.executor, mixed_.rows(), row_grain(width_),
                [&](std::int64_t first, std::int64_t last) {
                  for (std::int64_t row = first; row < last; ++row) {
                    for (std::int64_t head = 0; head < heads_; ++head) {
                      float* y = mixed_.row(row) + head * dim_;
                      o_norm_.vector(y, y);
                    }
                    primitives().sigmoid_product(mixed_.row(row), gate_.row(row), width_);
                  }
                });
}

std::unique_ptr<LayerState> KdaMixer::new_state() const {
  return std::make_unique<KdaState>(conv_.tail_size(), static_cast<std::size_t>(width_ * dim_));
}

std::size_t KdaMixer::bytes() const {
  return q_k_v_b_proj_.bytes() + f_a_proj_.bytes() + f_b_proj_.bytes() + g_a_proj_.bytes() +
         g_b_proj_.bytes() + o_proj_.bytes() + conv_.bytes() + o_norm_.bytes() +
         (decay_rate_.size() + dt_bias_.size()) * sizeof(float);
}

std::size_t KdaMixer::state_fixed_bytes() const {
  return (conv_.tail_size() + static_cast<std::size_t>(width_ * dim_)) * sizeof(float);
}

}  // namespace sluice::kimi_linear
