#include "model/blocks/delta_rule.hpp"

#include <algorithm>

#include "model/blocks/parallel.hpp"
#include "model/blocks/primitives.hpp"

namespace sluice {
namespace {

// Chunks whose terms stand in memory together: about 1,000 positions per head.
constexpr std::int64_t kChunksAtOnce = 16;
// Columns of the state that one task carries through the chunks.
constexpr std::int64_t kColumnsPerTask = 64;

}  // namespace

void DeltaRule::operator()(Compute& compute, const Batch& batch, std::span<float* const> states,
                           const DeltaInputs& inputs, Matrix& out) {
  out.resize(batch.rows(), shape_.heads * shape_.head_dim);
  step(compute, batch, states, inputs, out);
  for (std::size_t i = 0; i < states.size(); ++i) {
    const BatchEntry& entry = batch.entries()[i];
    if (entry.rows >= shape_.least_chunk_rows) {
      run_chunks(compute, entry, states[i], inputs, out);
    }
  }
}

void DeltaRule::step(Compute& compute, const Batch& batch, std::span<float* const> states,
                     const DeltaInputs& inputs, Matrix& out) {
  const std::int64_t dim = shape_.head_dim;
  const std::int64_t width = shape_.heads * dim;
  decay_.resize(static_cast<std::size_t>(compute.executor->workers()));
  std::int64_t cost = 0;
  for (const BatchEntry& entry : batch.entries()) {
    if (entry.rows < shape_.least_chunk_rows) cost += entry.rows * width * dim * 4;
  }
  if (cost == 0) return;
  parallel_for(
      *compute.executor, std::ssize(states) * shape_.heads, cost,
      [&](std::int64_t index, int worker) {
        const auto entry_index = static_cast<std::size_t>(index / shape_.heads);
        const std::int64_t head = index % shape_.heads;
        const BatchEntry& entry = batch.entries()[entry_index];
        if (entry.rows >= shape_.least_chunk_rows) return;
        std::vector<float>& decay = decay_[static_cast<std::size_t>(worker)];
        decay.resize(static_cast<std::size_t>(dim));
        for (std::int64_t row = entry.first_row; row < entry.first_row + entry.rows; ++row) {
          const float* q = inputs.qkv.row(row) + head * dim;
          std::copy_n(inputs.g.row(row) + head * dim, dim, decay.begin());
          primitives().exp_shifted(decay.data(), dim, 0.0f);
          primitives().delta_step(
              dim, dim, decay.data(), q, q + width, q + 2 * width, inputs.beta.row(row)[head],
              states[entry_index] + head * dim * dim, out.row(row) + head * dim);
        }
      });
}

void DeltaRule::run_chunks(Compute& compute, const BatchEntry& entry, float* state,
                           const DeltaInputs& inputs, Matrix& out) {
  const std::int64_t dim = shape_.head_dim;
  const std::int64_t width = shape_.heads * dim;
  const auto chunk_inputs = [&](std::int64_t first, std::int64_t rows, std::int64_t head) {
    const std::int64_t row = entry.first_row + first;
    const float* q = inputs.qkv.row(row) + head * dim;
    return ChunkInputs{q,
                       q + width,
                       q + 2 * width,
                       3 * width,
                       inputs.g.row(row) + head * dim,
                       width,
                       inputs.beta.row(row) + head,
                       shape_.heads,
                       rows,
                       dim};
  };
  const auto chunk_rows = [&](std::int64_t first) {
    return std::min(shape_.chunk, entry.rows - first);
  };
  scratch_.resize(static_cast<std::size_t>(compute.executor->workers()));
  terms_.resize(static_cast<std::size_t>(kChunksAtOnce * shape_.heads));

  const std::int64_t cost = entry.rows * width * (dim + shape_.chunk);
  for (std::int64_t start = 0; start < entry.rows; start += kChunksAtOnce * shape_.chunk) {
    const std::int64_t chunks =
        std::min(kChunksAtOnce, (entry.rows - start + shape_.chunk - 1) / shape_.chunk);
    parallel_for(*compute.executor, chunks * shape_.heads, cost,
                 [&](std::int64_t index, int worker) {
                   const std::int64_t first = start + index / shape_.heads * shape_.chunk;
                   compute_terms(chunk_inputs(first, chunk_rows(first), index % shape_.heads),
                                 scratch_[static_cast<std::size_t>(worker)],
                                 terms_[static_cast<std::size_t>(index)]);
                 });
    const std::int64_t slices = (dim + kColumnsPerTask - 1) / kColumnsPerTask;
    parallel_for(
        *compute.executor, slices * shape_.heads, cost, [&](std::int64_t index, int worker) {
          const std::int64_t head = index % shape_.heads;
          const std::int64_t column = index / shape_.heads * kColumnsPerTask;
          for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
            const std::int64_t first = start + chunk * shape_.chunk;
            apply_terms(chunk_inputs(first, chunk_rows(first), head),
                        terms_[static_cast<std::size_t>(chunk * shape_.heads + head)], column,
                        std::min(kColumnsPerTask, dim - column),
                        scratch_[static_cast<std::size_t>(worker)], state + head * dim * dim,
                        out.row(entry.first_row + first) + head * dim, width);
          }
        });
  }
}

}  // namespace sluice
