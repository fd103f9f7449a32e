// Multi-head latent attention without positions, on a LatentCache. Two forms of one computation:
//
//   expanded   k_h = [Kb_h latent | pe], v_h = Vb_h latent for every cached position, then ordinary
//              attention: cheaper per query, but every position is expanded anew in each call.
//   absorbed   q'_h = [Kb_hᵀ q_nope | q_pe], score = q'_h · [latent | pe],
//              o_h = Vb_h (sum of p · latent): nothing is expanded, each query works on the
//              cached rows.
//
// Both run in fp32 whatever the activation precision, and differ by its rounding.
#pragma once

#include <vector>

#include "model/batch.hpp"
#include "model/blocks/compute.hpp"
#include "model/blocks/latent_cache.hpp"
#include "model/blocks/matrix.hpp"
#include "model/blocks/softmax_tile.hpp"

namespace sluice {

struct LatentShape {
  std::int64_t heads = 0;
  std::int64_t latent = 0;  // kv_lora_rank
  std::int64_t nope = 0;    // qk_nope_head_dim
  std::int64_t pe = 0;      // qk_rope_head_dim: shared by the heads, never rotated
  std::int64_t value = 0;   // v_head_dim
  std::int64_t query() const { return nope + pe; }
  std::int64_t width() const { return latent + pe; }
};

enum class LatentForm : std::uint8_t { cheaper, expanded, absorbed };

class LatentAttention {
 public:
  LatentAttention() = default;
  // kv_b: kv_b_proj.weight as fp32, [heads, nope + value, latent].
  LatentAttention(const LatentShape& shape, std::vector<float> kv_b)
      : shape_(shape), kv_b_(std::move(kv_b)) {}

  // queries: unscaled, [heads · (nope + pe)] at the start of each batch row; out [batch rows, heads
  // · value].
  void operator()(Compute& compute, const Batch& batch, std::int64_t layer, const Matrix& queries,
                  LatentForm form, Matrix& out);

  const LatentShape& shape() const { return shape_; }
  std::size_t bytes() const { return kv_b_.size() * sizeof(float); }

 private:
  struct Scratch {
    std::vector<SoftmaxTile> tiles;
    std::vector<float> queries;
    std::vector<float> keys_t;  // expanded: [nope + pe, kPageTokens]
    std::vector<float> values;  // expanded: [kPageTokens, value]
  };
  struct Task {
    const BatchEntry* entry;
    bool expanded;
    std::int64_t first;  // rows of the entry
    std::int64_t rows;
    std::int64_t first_head;
    std::int64_t heads;
  };

  bool expands(const BatchEntry& entry, LatentForm form) const;
  void add_tasks(const BatchEntry& entry, LatentForm form);
  void run_expanded(const Task& task, const LatentCache& cache, const Matrix& queries,
                    Scratch& scratch, Matrix& out) const;
  void expand_page(const float* page, std::int64_t head, Scratch& scratch) const;
  void run_absorbed(const Task& task, const LatentCache& cache, const Matrix& queries,
                    Scratch& scratch, Matrix& out) const;
  const float* key_weights(std::int64_t head) const {  // Kb_h [nope, latent]
    return kv_b_.data() + head * (shape_.nope + shape_.value) * shape_.latent;
  }
  const float* value_weights(std::int64_t head) const {  // Vb_h [value, latent]
    return key_weights(head) + shape_.nope * shape_.latent;
  }

  LatentShape shape_;
  std::vector<float> kv_b_;
  std::vector<Task> tasks_;
  std::vector<Scratch> scratch_;  // one per worker
};

}  // namespace sluice
