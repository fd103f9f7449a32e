// The gated delta rule of KDA. Per head, with state S [K, V] fp32 and log decay g <= 0 per key
// channel:
//   S <- diag(exp g) S;  e = v - Sᵀ k;  S <- S + k (beta e)ᵀ;  o = Sᵀ q
//
// Few new rows are stepped one by one. Many go through the chunk form (delta_chunk.hpp): what
// happens inside chunks is computed for all chunks and heads at once, and only the state passes
// from chunk to chunk. Both are the same mathematics; they differ by fp32 rounding.
#pragma once

#include <vector>

#include "model/batch.hpp"
#include "model/blocks/compute.hpp"
#include "model/blocks/delta_chunk.hpp"
#include "model/blocks/matrix.hpp"

namespace sluice {

struct DeltaShape {
  std::int64_t heads = 0;
  std::int64_t head_dim = 0;           // K = V
  std::int64_t chunk = 64;             // rows of the chunk form
  std::int64_t least_chunk_rows = 16;  // fewer new rows than this are stepped
};

// Views with one row per batch row.
struct DeltaInputs {
  const Matrix& qkv;   // [rows, 3 · heads · head_dim]: q (scaled) | k | v, q and k normalised
  const Matrix& g;     // [rows, heads · head_dim]
  const Matrix& beta;  // [rows, heads]
};

class DeltaRule {
 public:
  explicit DeltaRule(const DeltaShape& shape) : shape_(shape) {}
  // states[i] is entry i's state, [heads, head_dim, head_dim]; out [rows, heads · head_dim].
  void operator()(Compute& compute, const Batch& batch, std::span<float* const> states,
                  const DeltaInputs& inputs, Matrix& out);

 private:
  void step(Compute& compute, const Batch& batch, std::span<float* const> states,
            const DeltaInputs& inputs, Matrix& out);
  void run_chunks(Compute& compute, const BatchEntry& entry, float* state,
                  const DeltaInputs& inputs, Matrix& out);

  DeltaShape shape_;
  std::vector<std::vector<float>> decay_;  // [workers][head_dim]
  std::vector<ChunkTerms> terms_;
  std::vector<ChunkScratch> scratch_;  // one per worker
};

}  // namespace sluice
