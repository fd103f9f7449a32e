// Causal attention of grouped query heads over a cache, with or without a sliding window.
//
// Over a KvCache everything is fp32. Over a PackedKvCache the inputs of both products are bf16
// (queries, keys; softmax weights, values); scores, softmax and sums are fp32.
#pragma once

#include <functional>
#include <vector>

#include "base/workspace.hpp"
#include "model/batch.hpp"
#include "model/blocks/compute.hpp"
#include "model/blocks/kv_cache.hpp"
#include "model/blocks/matrix.hpp"
#include "model/blocks/packed_kv_cache.hpp"
#include "model/blocks/softmax_tile.hpp"

namespace sluice {

struct AttentionShape {
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;  // divides heads: query head h reads kv head h / (heads / kv_heads)
  std::int64_t head_dim = 0;  // of keys and values
  std::int64_t window = 0;    // query i sees key j iff 0 <= i - j < window; 0: no window
  double scale = 1.0;         // multiplies q · k
  std::int64_t group() const { return heads / kv_heads; }
};

class Attention {
 public:
  // `packed`: the caches are PackedKvCaches.
  explicit Attention(const AttentionShape& shape, bool packed = false)
      : shape_(shape), packed_(packed) {}
  // queries: row r of the batch at queries + r * stride, [heads, head_dim]; out likewise, and gates
  // unless they are null: outputs then are multiplied by their sigmoids. The caches hold every
  // position up to the batch's last one.
  void operator()(Compute& compute, const Batch& batch, std::int64_t layer, const float* queries,
                  const float* gates, std::int64_t stride, Matrix& out);

  const AttentionShape& shape() const { return shape_; }

 private:
  // Consecutive rows of an entry and the query heads of one kv head. Row r of its tile is query
  // row r / group, head r % group.
  struct Task {
    const BatchEntry* entry;
    std::int64_t first;  // rows of the entry
    std::int64_t rows;
    std::int64_t kv_head;
  };
  struct Rows {
    const float* queries;
    const float* gates;
    std::int64_t stride;
    Matrix& out;
  };
  struct Scratch {
    SoftmaxTile tile;
    std::vector<float> queries;  // [tile rows, head_dim], scaled
    AlignedBuffer packed;        // PackedTile
  };
  struct PackedTile;
  struct PackedBlock;
  PackedTile take_tile(std::int64_t rows, Workspace& workspace) const;
  void attend(const Task& task, std::int64_t layer, const Rows& rows, Scratch& scratch) const;
  void attend_packed(const Task& task, std::int64_t layer, const Rows& rows,
                     Scratch& scratch) const;
  void pack_queries(const Task& task, const Rows& rows, std::int64_t first, std::int64_t count,
                    const PackedTile& tile) const;
  void weigh(const Task& task, const PackedBlock& block, PackedTile& tile) const;
  void attend_block(const Task& task, const PackedKvCache& cache, const PackedBlock& block,
                    PackedTile& tile) const;

  std::int64_t first_seen(std::int64_t query) const {
    return shape_.window == 0 ? 0 : std::max<std::int64_t>(0, query - shape_.window + 1);
  }
  const float* query(const Task& task, const Rows& rows, std::int64_t r) const {
    return rows.queries + row_offset(task, rows, r);
  }
  // A row of sums divided by its softmax's, and gated, to its place.
  void finish(const Task& task, const Rows& rows, std::int64_t r, const float* sums,
              float inverse) const;
  float* output(const Task& task, const Rows& rows, std::int64_t r) const {
    return rows.out.row(task.entry->first_row + task.first + r / shape_.group()) +
           head_offset(task, r);
  }
  std::int64_t row_offset(const Task& task, const Rows& rows, std::int64_t r) const {
    return (task.entry->first_row + task.first + r / shape_.group()) * rows.stride +
           head_offset(task, r);
  }
  std::int64_t head_offset(const Task& task, std::int64_t r) const {
    return (task.kv_head * shape_.group() + r % shape_.group()) * shape_.head_dim;
  }

  AttentionShape shape_;
  bool packed_;
  std::vector<Task> tasks_;
  std::vector<Scratch> scratch_;  // one per worker
};

}  // namespace sluice
