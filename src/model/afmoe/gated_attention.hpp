// AFMoE's attention: per-head norms on queries and keys, rotary positions on sliding layers only,
// and a sigmoid gate on the output.
#pragma once

#include "model/afmoe/config.hpp"
#include "model/blocks/attention.hpp"
#include "model/blocks/linear.hpp"
#include "model/blocks/mixer.hpp"
#include "model/blocks/norm.hpp"
#include "model/blocks/rope.hpp"
#include "model/weight_source.hpp"

namespace sluice::afmoe {

class GatedAttention final : public Mixer {
 public:
  // `rotary` is prepared for the batch by the model before each pass; `stem` ends in "self_attn.".
  GatedAttention(const Config& config, bool sliding, const Rotary& rotary,
                 const WeightSource& weights, const std::string& stem, Compute& compute);
  void operator()(Compute& compute, const Batch& batch, std::int64_t layer, const Matrix& h,
                  Matrix& out) override;
  std::unique_ptr<LayerState> new_state() const override;
  std::size_t bytes() const override;
  std::size_t state_fixed_bytes() const override;
  std::size_t state_bytes_per_token() const override;

 private:
  void norm_and_rotate(std::int64_t row, float* projected) const;
  void update_caches(Compute& compute, const Batch& batch, std::int64_t layer);
  template <typename Cache>
  void update_cache(Compute& compute, const BatchEntry& entry, Cache& cache);
  template <typename Change>
  void change_cache(LayerState& state, const Change& change);
  std::int64_t page_tokens() const { return packed_ ? PackedKvCache::kTokens : kPageTokens; }
  std::size_t page_bytes() const;

  std::int64_t heads_;
  std::int64_t kv_heads_;
  std::int64_t head_dim_;
  std::int64_t window_;   // 0: full attention
  const Rotary* rotary_;  // nullptr: full attention, no positions
  bool packed_;           // caches and attention's products in bf16
  Linear q_k_v_gate_proj_;
  Linear o_proj_;
  RmsNorm q_norm_;
  RmsNorm k_norm_;
  Attention attention_;
  Matrix& projected_;  // [rows, q | k | v | gate]
  Matrix& attended_;   // [rows, heads · head_dim]
};

}  // namespace sluice::afmoe
