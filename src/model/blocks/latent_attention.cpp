#include "model/blocks/latent_attention.hpp"

#include <cmath>
#include <cstring>

#include "model/blocks/parallel.hpp"
#include "model/blocks/primitives.hpp"

namespace sluice {
namespace {

constexpr std::int64_t kTileRows = 32;
// One decoding sequence has no other parallelism than its heads.
constexpr std::int64_t kAbsorbedHeads = 8;

void resize(std::vector<float>& values, std::int64_t count) {
  values.resize(static_cast<std::size_t>(count));
}

}  // namespace

// Multiplications per head over n cached positions: expanding costs n · latent · (nope + value)
// once, and then each query nope + pe + value per position instead of latent + pe + latent.
bool LatentAttention::expands(const BatchEntry& entry, LatentForm form) const {
  if (form != LatentForm::cheaper) return form == LatentForm::expanded;
  const std::int64_t saved = 2 * shape_.latent - shape_.nope - shape_.value;
  return entry.rows * saved > shape_.latent * (shape_.nope + shape_.value);
}

void LatentAttention::add_tasks(const BatchEntry& entry, LatentForm form) {
  if (expands(entry, form)) {
    for (std::int64_t head = 0; head < shape_.heads; ++head) {
      tasks_.push_back({&entry, true, 0, entry.rows, head, 1});
    }
    return;
  }
  for (std::int64_t head = 0; head < shape_.heads; head += kAbsorbedHeads) {
    const std::int64_t heads = std::min(kAbsorbedHeads, shape_.heads - head);
    const std::int64_t block = kTileRows / heads;
    for (std::int64_t first = 0; first < entry.rows; first += block) {
      tasks_.push_back({&entry, false, first, std::min(block, entry.rows - first), head, heads});
    }
  }
}

void LatentAttention::operator()(Compute& compute, const Batch& batch, std::int64_t layer,
                                 const Matrix& queries, LatentForm form, Matrix& out) {
  out.resize(batch.rows(), shape_.heads * shape_.value);
  tasks_.clear();
  std::int64_t cost = 0;
  for (const BatchEntry& entry : batch.entries()) {
    add_tasks(entry, form);
    cost += entry.rows * (entry.position + entry.rows) * shape_.heads * 2 * shape_.width();
  }
  scratch_.resize(static_cast<std::size_t>(compute.executor->workers()));
  parallel_for(*compute.executor, std::ssize(tasks_), cost, [&](std::int64_t index, int worker) {
    const Task& task = tasks_[static_cast<std::size_t>(index)];
    const auto& cache = static_cast<const LatentCache&>(task.entry->sequence->layer(layer));
    Scratch& scratch = scratch_[static_cast<std::size_t>(worker)];
    if (task.expanded) {
      run_expanded(task, cache, queries, scratch, out);
    } else {
      run_absorbed(task, cache, queries, scratch, out);
    }
  });
}

void LatentAttention::expand_page(const float* page, std::int64_t head, Scratch& scratch) const {
  const Primitives& simd = primitives();
  const std::int64_t width = shape_.width();
  resize(scratch.keys_t, shape_.query() * kPageTokens);
  resize(scratch.values, kPageTokens * shape_.value);
  simd.matmul_nt(shape_.nope, kPageTokens, shape_.latent, key_weights(head), shape_.latent, page,
                 width, scratch.keys_t.data(), kPageTokens, false);
  for (std::int64_t slot = 0; slot < kPageTokens; ++slot) {
    for (std::int64_t i = 0; i < shape_.pe; ++i) {
      scratch.keys_t[static_cast<std::size_t>((shape_.nope + i) * kPageTokens + slot)] =
          page[slot * width + shape_.latent + i];
    }
  }
  simd.matmul_nt(kPageTokens, shape_.value, shape_.latent, page, width, value_weights(head),
                 shape_.latent, scratch.values.data(), shape_.value, false);
}

void LatentAttention::run_expanded(const Task& task, const LatentCache& cache,
                                   const Matrix& queries, Scratch& scratch, Matrix& out) const {
  const std::int64_t dim = shape_.query();
  const std::int64_t tiles = (task.rows + kTileRows - 1) / kTileRows;
  const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
  scratch.tiles.resize(std::max(scratch.tiles.size(), static_cast<std::size_t>(tiles)));
  resize(scratch.queries, task.rows * dim);
  for (std::int64_t row = 0; row < task.rows; ++row) {
    SoftmaxTile& tile = scratch.tiles[static_cast<std::size_t>(row / kTileRows)];
    if (row % kTileRows == 0) tile.begin(std::min(kTileRows, task.rows - row), shape_.value);
    tile.set_row(row % kTileRows, 0, task.entry->position + row);
    const float* from = queries.row(task.entry->first_row + row) + task.first_head * dim;
    float* to = scratch.queries.data() + row * dim;
    for (std::int64_t i = 0; i < dim; ++i) to[i] = from[i] * scale;
  }
  // Every page is expanded once and then met by all queries that see any of it.
  for_each_page(0, task.entry->position + task.rows, [&](std::int64_t first, std::int64_t) {
    expand_page(cache.page(first), task.first_head, scratch);
    const std::int64_t first_query = std::max<std::int64_t>(0, first - task.entry->position);
    for (std::int64_t t = first_query / kTileRows; t < tiles; ++t) {
      SoftmaxTile& tile = scratch.tiles[static_cast<std::size_t>(t)];
      primitives().matmul(tile.rows(), kPageTokens, dim,
                          scratch.queries.data() + t * kTileRows * dim, dim, scratch.keys_t.data(),
                          kPageTokens, tile.scores(), kPageTokens, false);
      tile.absorb(first, scratch.values.data(), shape_.value);
    }
  });
  for (std::int64_t row = 0; row < task.rows; ++row) {
    SoftmaxTile& tile = scratch.tiles[static_cast<std::size_t>(row / kTileRows)];
    std::memcpy(out.row(task.entry->first_row + row) + task.first_head * shape_.value,
                tile.finish(row % kTileRows),
                static_cast<std::size_t>(shape_.value) * sizeof(float));
  }
}

void LatentAttention::run_absorbed(const Task& task, const LatentCache& cache,
                                   const Matrix& queries, Scratch& scratch, Matrix& out) const {
  const Primitives& simd = primitives();
  const std::int64_t width = shape_.width();
  const std::int64_t tile_rows = task.rows * task.heads;
  const float scale = 1.0f / std::sqrt(static_cast<float>(shape_.query()));
  if (scratch.tiles.empty()) scratch.tiles.resize(1);
  SoftmaxTile& tile = scratch.tiles.front();
  tile.begin(tile_rows, shape_.latent);
  resize(scratch.queries, tile_rows * width);
  for (std::int64_t r = 0; r < tile_rows; ++r) {
    const std::int64_t row = task.first + r / task.heads;
    const std::int64_t head = task.first_head + r % task.heads;
    tile.set_row(r, 0, task.entry->position + row);
    const float* query = queries.row(task.entry->first_row + row) + head * shape_.query();
    float* to = scratch.queries.data() + r * width;
    simd.matmul(1, shape_.latent, shape_.nope, query, shape_.nope, key_weights(head), shape_.latent,
                to, shape_.latent, false);
    std::memcpy(to + shape_.latent, query + shape_.nope,
                static_cast<std::size_t>(shape_.pe) * sizeof(float));
    for (std::int64_t i = 0; i < width; ++i) to[i] *= scale;
  }
  for_each_page(0, task.entry->position + task.first + task.rows,
                [&](std::int64_t first, std::int64_t) {
                  const float* page = cache.page(first);
                  simd.matmul_nt(tile_rows, kPageTokens, width, scratch.queries.data(), width, page,
                                 width, tile.scores(), kPageTokens, false);
                  tile.absorb(first, page, width);
                });
  for (std::int64_t r = 0; r < tile_rows; ++r) {
    const std::int64_t row = task.entry->first_row + task.first + r / task.heads;
    const std::int64_t head = task.first_head + r % task.heads;
    simd.matmul_nt(1, shape_.value, shape_.latent, tile.finish(r), shape_.latent,
                   value_weights(head), shape_.latent, out.row(row) + head * shape_.value,
                   shape_.value, false);
  }
}

}  // namespace sluice
