// The chunk form of the gated delta rule for one head. G_i = sum of g_t over t <= i inside the
// chunk, S the state before it:
//
//   L_im = beta_i sum_d k_i k_m exp(G_i - G_m), m < i
//   A_im = sum_d q_i k_m exp(G_i - G_m), m <= i
//   n_i  = beta_i (v_i - Sᵀ(k_i exp G_i)) - sum_{m<i} L_im n_m
//   o_i  = Sᵀ(q_i exp G_i) + sum_{m<=i} A_im n_m
//   S'   = diag(exp G_last) S + sum_i (k_i exp(G_last - G_i)) n_iᵀ
//
// Only non-positive differences are exponentiated: exp(G_i) exp(-G_m) would overflow. G is kept as
// the sum of two floats: after one strong decay, G's own rounding would swamp later differences.
#pragma once

#include <cstdint>
#include <vector>

namespace sluice {

// Rows of one head inside the batch's matrices.
struct ChunkInputs {
  const float* q;  // [rows, dim]; rows `stride` apart, as k, v
  const float* k;
  const float* v;
  std::int64_t stride;
  const float* g;  // [rows, dim], rows g_stride apart
  std::int64_t g_stride;
  const float* beta;  // [rows], beta_stride apart
  std::int64_t beta_stride;
  std::int64_t rows;
  std::int64_t dim;
};

// What does not depend on the state.
struct ChunkTerms {
  std::vector<float> within_k;   // L [rows, rows], strictly lower
  std::vector<float> within_q;   // A [rows, rows], lower
  std::vector<float> k_decayed;  // k_i exp G_i [rows, dim]
  std::vector<float> q_decayed;  // q_i exp G_i [rows, dim]
  std::vector<float> k_to_end;   // k_i exp(G_last - G_i) [rows, dim]
  std::vector<float> decay;      // exp G_last [dim]
};

struct ChunkScratch {
  std::vector<float> sums;     // G [1 + rows, 2, dim], high and low parts; row 0 is zero
  std::vector<float> left_k;   // [block, dim]
  std::vector<float> left_q;   // [block, dim]
  std::vector<float> right;    // [rows, dim]
  std::vector<float> updates;  // n [rows, columns]
};

void compute_terms(const ChunkInputs& in, ChunkScratch& scratch, ChunkTerms& terms);

// Columns [first, first + columns) of the value dimension: they do not depend on the others.
// state [dim, dim] is updated, o [rows, dim] is written at rows o_stride apart.
void apply_terms(const ChunkInputs& in, const ChunkTerms& terms, std::int64_t first,
                 std::int64_t columns, ChunkScratch& scratch, float* state, float* o,
                 std::int64_t o_stride);

}  // namespace sluice
