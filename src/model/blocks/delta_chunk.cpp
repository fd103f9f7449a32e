#include "model/blocks/delta_chunk.hpp"

#include <algorithm>

#include "model/blocks/primitives.hpp"

namespace sluice {
namespace {

// Inside a block of rows every pair has its own exponents; between blocks they factor through the
// later block's first row, and the sum over channels is a matrix product.
// With 8 rows the two kinds of exponents are fewest for chunks of 64.
constexpr std::int64_t kBlockRows = 8;

void resize(std::vector<float>& values, std::int64_t count) {
  values.resize(static_cast<std::size_t>(count));
}

// G_i, [2, dim]; i = -1: zero.
const float* sum_at(const ChunkInputs& in, const ChunkScratch& scratch, std::int64_t i) {
  return scratch.sums.data() + (i + 1) * 2 * in.dim;
}

// Knuth's two-sum: the low parts collect what the high parts round away.
void cumulate(const ChunkInputs& in, std::vector<float>& sums) {
  sums.assign(static_cast<std::size_t>((in.rows + 1) * 2 * in.dim), 0.0f);
  for (std::int64_t i = 0; i < in.rows; ++i) {
    const float* g = in.g + i * in.g_stride;
    const float* before = sums.data() + i * 2 * in.dim;
    float* row = sums.data() + (i + 1) * 2 * in.dim;
    for (std::int64_t d = 0; d < in.dim; ++d) {
      const float sum = before[d] + g[d];
      const float added = sum - before[d];
      row[d] = sum;
      row[in.dim + d] = before[in.dim + d] + ((before[d] - (sum - added)) + (g[d] - added));
    }
  }
}

float dot(const float* a, const float* b, std::int64_t n) {
  float sum = 0.0f;
  primitives().matmul_nt(1, 1, n, a, n, b, n, &sum, 1, false);
  return sum;
}

// Pairs with both rows in block [first, last).
void pairs_inside(const ChunkInputs& in, std::int64_t first, std::int64_t last,
                  ChunkScratch& scratch, ChunkTerms& terms) {
  const Primitives& simd = primitives();
  for (std::int64_t i = first; i < last; ++i) {
    const float* sum_i = sum_at(in, scratch, i);
    const float beta = in.beta[i * in.beta_stride];
    for (std::int64_t m = first; m <= i; ++m) {
      float* decayed = scratch.right.data();
      simd.decay_product(sum_i, sum_at(in, scratch, m), in.k + m * in.stride, decayed, nullptr,
                         nullptr, in.dim);
      const std::int64_t at = i * in.rows + m;
      terms.within_q[static_cast<std::size_t>(at)] = dot(in.q + i * in.stride, decayed, in.dim);
      if (m == i) continue;
      terms.within_k[static_cast<std::size_t>(at)] =
          beta * dot(in.k + i * in.stride, decayed, in.dim);
    }
  }
}

// Rows of block [first, last) with all rows before it.
void pairs_before(const ChunkInputs& in, std::int64_t first, std::int64_t last,
                  ChunkScratch& scratch, ChunkTerms& terms) {
  const Primitives& simd = primitives();
  const float* reference = sum_at(in, scratch, first);
  for (std::int64_t i = first; i < last; ++i) {
    const float* sum = sum_at(in, scratch, i);
    const std::int64_t at = (i - first) * in.dim;
    simd.decay_product(sum, reference, in.k + i * in.stride, scratch.left_k.data() + at,
                       in.q + i * in.stride, scratch.left_q.data() + at, in.dim);
  }
  for (std::int64_t m = 0; m < first; ++m) {
    simd.decay_product(reference, sum_at(in, scratch, m), in.k + m * in.stride,
                       scratch.right.data() + m * in.dim, nullptr, nullptr, in.dim);
  }
  const std::int64_t rows = last - first;
  float* to_k = terms.within_k.data() + first * in.rows;
  simd.matmul_nt(rows, first, in.dim, scratch.left_k.data(), in.dim, scratch.right.data(), in.dim,
                 to_k, in.rows, false);
  simd.matmul_nt(rows, first, in.dim, scratch.left_q.data(), in.dim, scratch.right.data(), in.dim,
                 terms.within_q.data() + first * in.rows, in.rows, false);
  for (std::int64_t i = 0; i < rows; ++i) {
    const float beta = in.beta[(first + i) * in.beta_stride];
    for (std::int64_t m = 0; m < first; ++m) to_k[i * in.rows + m] *= beta;
  }
}

void decay_rows(const ChunkInputs& in, ChunkScratch& scratch, ChunkTerms& terms) {
  const Primitives& simd = primitives();
  const float* zero = sum_at(in, scratch, -1);
  const float* last = sum_at(in, scratch, in.rows - 1);
  for (std::int64_t i = 0; i < in.rows; ++i) {
    const float* sum = sum_at(in, scratch, i);
    const float* k = in.k + i * in.stride;
    const std::int64_t at = i * in.dim;
    simd.decay_product(sum, zero, k, terms.k_decayed.data() + at, in.q + i * in.stride,
                       terms.q_decayed.data() + at, in.dim);
    simd.decay_product(last, sum, k, terms.k_to_end.data() + at, nullptr, nullptr, in.dim);
  }
  std::fill_n(scratch.right.begin(), in.dim, 1.0f);
  simd.decay_product(last, zero, scratch.right.data(), terms.decay.data(), nullptr, nullptr,
                     in.dim);
}

}  // namespace

void compute_terms(const ChunkInputs& in, ChunkScratch& scratch, ChunkTerms& terms) {
  resize(scratch.left_k, kBlockRows * in.dim);
  resize(scratch.left_q, kBlockRows * in.dim);
  resize(scratch.right, in.rows * in.dim);
  resize(terms.within_k, in.rows * in.rows);
  resize(terms.within_q, in.rows * in.rows);
  resize(terms.k_decayed, in.rows * in.dim);
  resize(terms.q_decayed, in.rows * in.dim);
  resize(terms.k_to_end, in.rows * in.dim);
  resize(terms.decay, in.dim);
  cumulate(in, scratch.sums);
  // Products below run over whole rows of L and A: the upper triangles must be 0.
  std::fill(terms.within_k.begin(), terms.within_k.end(), 0.0f);
  std::fill(terms.within_q.begin(), terms.within_q.end(), 0.0f);
  for (std::int64_t first = 0; first < in.rows; first += kBlockRows) {
    const std::int64_t last = std::min(first + kBlockRows, in.rows);
    pairs_inside(in, first, last, scratch, terms);
    if (first > 0) pairs_before(in, first, last, scratch, terms);
  }
  decay_rows(in, scratch, terms);
}

void apply_terms(const ChunkInputs& in, const ChunkTerms& terms, std::int64_t first,
                 std::int64_t columns, ChunkScratch& scratch, float* state, float* o,
                 std::int64_t o_stride) {
  const Primitives& simd = primitives();
  resize(scratch.updates, in.rows * columns);
  float* n = scratch.updates.data();
  float* own_state = state + first;
  float* own_o = o + first;

  // n_i before the sum over m: row i of L meets only rows m < i, which are final by then.
  simd.matmul(in.rows, columns, in.dim, terms.k_decayed.data(), in.dim, own_state, in.dim, n,
              columns, false);
  resize(scratch.right, columns);
  for (std::int64_t i = 0; i < in.rows; ++i) {
    float* row = n + i * columns;
    const float* v = in.v + i * in.stride + first;
    const float beta = in.beta[i * in.beta_stride];
    float* earlier = scratch.right.data();
    simd.matmul(1, columns, i, terms.within_k.data() + i * in.rows, in.rows, n, columns, earlier,
                columns, false);
    for (std::int64_t c = 0; c < columns; ++c) row[c] = beta * (v[c] - row[c]) - earlier[c];
  }

  simd.matmul(in.rows, columns, in.dim, terms.q_decayed.data(), in.dim, own_state, in.dim, own_o,
              o_stride, false);
  simd.matmul(in.rows, columns, in.rows, terms.within_q.data(), in.rows, n, columns, own_o,
              o_stride, true);

  for (std::int64_t d = 0; d < in.dim; ++d) {
    const float decay = terms.decay[static_cast<std::size_t>(d)];
    for (std::int64_t c = 0; c < columns; ++c) own_state[d * in.dim + c] *= decay;
  }
  simd.matmul_tn(in.dim, columns, in.rows, terms.k_to_end.data(), in.dim, n, columns, own_state,
                 in.dim, true);
}

}  // namespace sluice
