#include "model/afmoe/gated_attention.hpp"

#include <array>
#include <cmath>
#include <type_traits>

#include "model/blocks/parallel.hpp"
#include "model/blocks/primitives.hpp"

namespace sluice::afmoe {

GatedAttention::GatedAttention(const Config& config, bool sliding, const Rotary& rotary,
                               const WeightSource& weights, const std::string& stem,
                               Compute& compute)
    : heads_(config.num_attention_heads),
      kv_heads_(config.num_key_value_heads),
      head_dim_(config.head_dim),
      window_(sliding ? config.sliding_window : 0),
      rotary_(sliding ? &rotary : nullptr),
      packed_(compute.precision == ActivationPrecision::bf16),
      q_k_v_gate_proj_(
          std::array{weights.tensor(stem + "q_proj.weight"), weights.tensor(stem + "k_proj.weight"),
                     weights.tensor(stem + "v_proj.weight"),
                     weights.tensor(stem + "gate_proj.weight")},
          *compute.executor),
      o_proj_(weights.tensor(stem + "o_proj.weight"), *compute.executor),
      q_norm_(weights.tensor(stem + "q_norm.weight"), config.rms_norm_eps),
      k_norm_(weights.tensor(stem + "k_norm.weight"), config.rms_norm_eps),
      attention_({.heads = heads_,
                  .kv_heads = kv_heads_,
                  .head_dim = head_dim_,
                  .window = window_,
                  .scale = 1.0 / std::sqrt(static_cast<double>(head_dim_))},
                 packed_),
      projected_(compute.matrix(0)),
      attended_(compute.matrix(1)) {}

void GatedAttention::operator()(Compute& compute, const Batch& batch, std::int64_t layer,
                                const Matrix& h, Matrix& out) {
  const Stopwatch watch(compute.times.attention);
  q_k_v_gate_proj_(compute, h, projected_);
  update_caches(compute, batch, layer);
  const float* gates = projected_.data() + (heads_ + 2 * kv_heads_) * head_dim_;
  attention_(compute, batch, layer, projected_.data(), gates, projected_.columns(), attended_);
  o_proj_(compute, attended_, out);

  if (window_ == 0) return;
  for (const BatchEntry& entry : batch.entries()) {
    const std::int64_t next = entry.position + entry.rows;
    change_cache(entry.sequence->layer(layer), [&](auto& cache) {
      cache.forget_before(std::max<std::int64_t>(0, next - window_ + 1));
    });
  }
}

void GatedAttention::norm_and_rotate(std::int64_t row, float* projected) const {
  for (std::int64_t head = 0; head < heads_ + kv_heads_; ++head) {
    float* vector = projected + head * head_dim_;
    (head < heads_ ? q_norm_ : k_norm_).vector(vector, vector);
    if (rotary_ != nullptr) rotary_->rotate(row, vector);
  }
}

// Calls change(cache) with the cache as what it is.
template <typename Change>
void GatedAttention::change_cache(LayerState& state, const Change& change) {
  if (packed_) {
    change(static_cast<PackedKvCache&>(state));
  } else {
    change(static_cast<KvCache&>(state));
  }
}

void GatedAttention::update_caches(Compute& compute, const Batch& batch, std::int64_t layer) {
  for (const BatchEntry& entry : batch.entries()) {
    change_cache(entry.sequence->layer(layer),
                 [&](auto& cache) { update_cache(compute, entry, cache); });
  }
}

template <typename Cache>
void GatedAttention::update_cache(Compute& compute, const BatchEntry& entry, Cache& cache) {
  cache.extend(entry.rows);
  const std::int64_t width = kv_heads_ * head_dim_;
  parallel_rows(*compute.executor, entry.rows, row_grain(projected_.columns()),
                [&](std::int64_t first, std::int64_t last) {
                  std::vector<std::uint16_t> rounded(static_cast<std::size_t>(2 * width));
                  for (std::int64_t i = first; i < last; ++i) {
                    const std::int64_t row = entry.first_row + i;
                    float* projected = projected_.row(row);
                    norm_and_rotate(row, projected);
                    const float* key = projected + heads_ * head_dim_;
                    if constexpr (std::is_same_v<Cache, PackedKvCache>) {
                      convert_to_bf16(key, rounded.data(), 2 * width);
                      cache.write(entry.position + i, rounded.data(), rounded.data() + width);
                    } else {
                      cache.write(entry.position + i, key, key + width);
                    }
                  }
                });
}

std::unique_ptr<LayerState> GatedAttention::new_state() const {
  if (packed_) return std::make_unique<PackedKvCache>(kv_heads_, head_dim_, head_dim_);
  return std::make_unique<KvCache>(kv_heads_, head_dim_, head_dim_);
}

std::size_t GatedAttention::bytes() const {
  return q_k_v_gate_proj_.bytes() + o_proj_.bytes() + q_norm_.bytes() + k_norm_.bytes();
}

std::size_t GatedAttention::page_bytes() const {
  if (packed_) {
    return static_cast<std::size_t>(PackedKvCache::page_bytes(kv_heads_, head_dim_, head_dim_));
  }
  return static_cast<std::size_t>(page_tokens() * 2 * kv_heads_ * head_dim_) * sizeof(float);
}

std::size_t GatedAttention::state_bytes_per_token() const {
  return window_ != 0 ? 0 : page_bytes() / static_cast<std::size_t>(page_tokens());
}

std::size_t GatedAttention::state_fixed_bytes() const {
  if (window_ == 0) return 0;
  // A window that begins anywhere in a page, and the page being filled.
  const std::int64_t pages = (window_ + page_tokens() - 2) / page_tokens() + 1;
  return static_cast<std::size_t>(pages) * page_bytes();
}

}  // namespace sluice::afmoe
