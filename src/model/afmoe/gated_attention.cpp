#include "model/afmoe/gated_attention.hpp"

#include <array>
#include <cmath>

#include "model/blocks/parallel.hpp"
#include "model/blocks/primitives.hpp"

namespace sluice::afmoe {

GatedAttention::GatedAttention(const Config& config, bool sliding, const Rotary& rotary,
                               const WeightSource& weights, const std::string& stem,
                               Executor& executor)
    : heads_(config.num_attention_heads),
      kv_heads_(config.num_key_value_heads),
      head_dim_(config.head_dim),
      window_(sliding ? config.sliding_window : 0),
      rotary_(sliding ? &rotary : nullptr),
      q_k_v_gate_proj_(
          std::array{weights.tensor(stem + "q_proj.weight"), weights.tensor(stem + "k_proj.weight"),
                     weights.tensor(stem + "v_proj.weight"),
                     weights.tensor(stem + "gate_proj.weight")},
          executor),
      o_proj_(weights.tensor(stem + "o_proj.weight"), executor),
      q_norm_(weights.tensor(stem + "q_norm.weight"), config.rms_norm_eps),
      k_norm_(weights.tensor(stem + "k_norm.weight"), config.rms_norm_eps),
      attention_({.heads = heads_,
                  .kv_heads = kv_heads_,
                  .head_dim = head_dim_,
                  .window = window_,
                  .scale = 1.0 / std::sqrt(static_cast<double>(head_dim_))}) {}

void GatedAttention::operator()(Compute& compute, const Batch& batch, std::int64_t layer,
                                const Matrix& h, Matrix& out) {
  const Stopwatch watch(compute.times.attention);
  q_k_v_gate_proj_(compute, h, projected_);
  update_caches(compute, batch, layer);
  attention_(compute, batch, layer, projected_.data(), projected_.columns(), attended_);

  const std::int64_t width = heads_ * head_dim_;
  parallel_rows(*compute.executor, batch.rows(), row_grain(width),
                [&](std::int64_t first, std::int64_t last) {
                  for (std::int64_t row = first; row < last; ++row) {
                    const float* gate = projected_.row(row) + width + 2 * kv_heads_ * head_dim_;
                    primitives().sigmoid_product(attended_.row(row), gate, width);
                  }
                });
  o_proj_(compute, attended_, out);

  if (window_ == 0) return;
  for (const BatchEntry& entry : batch.entries()) {
    const std::int64_t next = entry.position + entry.rows;
    auto& cache = static_cast<KvCache&>(entry.sequence->layer(layer));
    cache.forget_before(std::max<std::int64_t>(0, next - window_ + 1));
  }
}

void GatedAttention::norm_and_rotate(std::int64_t row, float* projected) const {
  for (std::int64_t head = 0; head < heads_ + kv_heads_; ++head) {
    float* vector = projected + head * head_dim_;
    (head < heads_ ? q_norm_ : k_norm_).vector(vector, vector);
    if (rotary_ != nullptr) rotary_->rotate(row, vector);
  }
}

void GatedAttention::update_caches(Compute& compute, const Batch& batch, std::int64_t layer) {
  for (const BatchEntry& entry : batch.entries()) {
    auto& cache = static_cast<KvCache&>(entry.sequence->layer(layer));
    cache.extend(entry.rows);
    parallel_rows(*compute.executor, entry.rows, row_grain(projected_.columns()),
                  [&](std::int64_t first, std::int64_t last) {
                    for (std::int64_t i = first; i < last; ++i) {
                      const std::int64_t row = entry.first_row + i;
                      float* projected = projected_.row(row);
                      norm_and_rotate(row, projected);
                      const float* key = projected + heads_ * head_dim_;
                      cache.write(entry.position + i, key, key + kv_heads_ * head_dim_);
                    }
                  });
  }
}

std::unique_ptr<LayerState> GatedAttention::new_state() const {
  return std::make_unique<KvCache>(kv_heads_, head_dim_, head_dim_);
}

std::size_t GatedAttention::bytes() const {
  return q_k_v_gate_proj_.bytes() + o_proj_.bytes() + q_norm_.bytes() + k_norm_.bytes();
}

std::size_t GatedAttention::state_bytes_per_token() const {
  return window_ != 0 ? 0 : static_cast<std::size_t>(2 * kv_heads_ * head_dim_) * sizeof(float);
}

std::size_t GatedAttention::state_fixed_bytes() const {
  if (window_ == 0) return 0;
  // A window that begins anywhere in a page, and the page being filled.
  const std::int64_t pages = (window_ + kPageTokens - 2) / kPageTokens + 1;
  return static_cast<std::size_t>(pages * kPageTokens * 2 * kv_heads_ * head_dim_) * sizeof(float);
}

}  // namespace sluice::afmoe
