// Causal attention of grouped query heads over a KvCache, with or without a sliding window.
#pragma once

#include <functional>
#include <vector>

#include "model/batch.hpp"
#include "model/blocks/compute.hpp"
#include "model/blocks/kv_cache.hpp"
#include "model/blocks/matrix.hpp"
#include "model/blocks/softmax_tile.hpp"

namespace sluice {

struct AttentionShape {
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;  // divides heads: query head h reads kv head h / (heads / kv_heads)
  std::int64_t head_dim = 0;  // of keys and values
  std::int64_t window = 0;    // query i sees key j iff 0 <= i - j < window; 0: no window
  double scale = 1.0;         // multiplies q · k
};

class Attention {
 public:
  explicit Attention(const AttentionShape& shape) : shape_(shape) {}
  // queries: row r of the batch at queries + r * stride, [heads, head_dim]; out likewise. The
  // caches hold every position up to the batch's last one.
  void operator()(Compute& compute, const Batch& batch, std::int64_t layer, const float* queries,
                  std::int64_t stride, Matrix& out);

  const AttentionShape& shape() const { return shape_; }

 private:
  struct Task {
    const BatchEntry* entry;
    std::int64_t first;  // rows of the entry
    std::int64_t rows;
    std::int64_t kv_head;
  };
  struct Scratch {
    SoftmaxTile tile;
    std::vector<float> queries;  // [tile rows, head_dim], scaled
  };
  void attend(const Task& task, std::int64_t layer, const float* queries, std::int64_t stride,
              Scratch& scratch, Matrix& out) const;

  AttentionShape shape_;
  std::vector<Task> tasks_;
  std::vector<Scratch> scratch_;  // one per worker
};

}  // namespace sluice
