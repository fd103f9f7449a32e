#include "model/blocks/attention.hpp"

#include "model/blocks/parallel.hpp"
#include "model/blocks/primitives.hpp"

namespace sluice {
namespace {

// Rows of a tile: enough that a page of keys and values (64 KiB at head_dim 128) is reused from
// cache, few enough that queries, scores and outputs stay there too.
constexpr std::int64_t kTileRows = 32;
// A page in bf16 is read from the second cache for 32 rows at a time, and from beyond it for all of
// a tile.
constexpr std::int64_t kPackedTileRows = 128;

}  // namespace

void Attention::operator()(Compute& compute, const Batch& batch, std::int64_t layer,
                           const float* queries, const float* gates, std::int64_t stride,
                           Matrix& out) {
  const std::int64_t most = packed_ ? kPackedTileRows : kTileRows;
  const std::int64_t block = std::max<std::int64_t>(1, most / shape_.group());
  tasks_.clear();
  std::int64_t cost = 0;
  for (const BatchEntry& entry : batch.entries()) {
    const std::int64_t keys = entry.position + entry.rows;
    const std::int64_t seen = shape_.window == 0 ? keys : std::min(keys, shape_.window);
    cost += entry.rows * seen * shape_.heads * 2 * shape_.head_dim;
    // Head by head: the pages of one are read by all its blocks and stay in cache. The last rows
    // first: they see most keys, and long tasks should not start last.
    for (std::int64_t head = 0; head < shape_.kv_heads; ++head) {
      for (std::int64_t end = entry.rows; end > 0; end -= std::min(end, block)) {
        const std::int64_t first = std::max<std::int64_t>(0, end - block);
        tasks_.push_back({&entry, first, end - first, head});
      }
    }
  }
  scratch_.resize(static_cast<std::size_t>(compute.executor->workers()));
  out.resize(batch.rows(), shape_.heads * shape_.head_dim);
  const Rows rows{queries, gates, stride, out};
  parallel_for(*compute.executor, std::ssize(tasks_), cost, [&](std::int64_t index, int worker) {
    const Task& task = tasks_[static_cast<std::size_t>(index)];
    Scratch& scratch = scratch_[static_cast<std::size_t>(worker)];
    if (packed_) {
      attend_packed(task, layer, rows, scratch);
    } else {
      attend(task, layer, rows, scratch);
    }
  });
}

void Attention::attend(const Task& task, std::int64_t layer, const Rows& rows,
                       Scratch& scratch) const {
  const auto& cache = static_cast<const KvCache&>(task.entry->sequence->layer(layer));
  const std::int64_t dim = shape_.head_dim;
  const std::int64_t tile_rows = task.rows * shape_.group();
  const std::int64_t first_query = task.entry->position + task.first;

  SoftmaxTile& tile = scratch.tile;
  tile.begin(tile_rows, dim);
  scratch.queries.resize(static_cast<std::size_t>(tile_rows * dim));
  const auto scale = static_cast<float>(shape_.scale);
  for (std::int64_t r = 0; r < tile_rows; ++r) {
    const std::int64_t position = first_query + r / shape_.group();
    tile.set_row(r, first_seen(position), position);
    const float* from = query(task, rows, r);
    float* to = scratch.queries.data() + r * dim;
    for (std::int64_t i = 0; i < dim; ++i) to[i] = from[i] * scale;
  }

  for_each_page(first_seen(first_query), first_query + task.rows, [&](std::int64_t first, auto) {
    primitives().matmul(tile_rows, kPageTokens, dim, scratch.queries.data(), dim,
                        cache.keys(first, task.kv_head), kPageTokens, tile.scores(), kPageTokens,
                        false);
    tile.absorb(first / kPageTokens * kPageTokens, cache.values(first, task.kv_head), dim);
  });

  for (std::int64_t r = 0; r < tile_rows; ++r) {
    finish(task, rows, r, tile.finish(r), 1.0f);
  }
}

void Attention::finish(const Task& task, const Rows& rows, std::int64_t r, const float* sums,
                       float inverse) const {
  float* to = output(task, rows, r);
  for (std::int64_t i = 0; i < shape_.head_dim; ++i) to[i] = sums[i] * inverse;
  if (rows.gates == nullptr) return;
  primitives().sigmoid_product(to, rows.gates + row_offset(task, rows, r), shape_.head_dim);
}

}  // namespace sluice
