// Dense products with packed weights: out[t, r] = sum over c of x[t, c] * W[r, c].
//
// Arithmetic. Every output element is one chain of operations whose order depends on nothing but
// the instruction set and cols: the same bits for any number of workers and whatever other tokens
// are in the call (batch invariant), on every instruction set, AMX included. u = 2^-24.
//   fp32 x, F32 weights: in double, where a product is exact, in ascending c; rounded once. Error
//     <= u |result| + cols 2^-52 sum|x||w|. Layers may magnify rounding a hundredfold, and most of
//     it came from these sums.
//   fp32 x, bf16 and f16 weights: widened exactly; fma in ascending c (generic: product rounded,
//     then added). Error <= gamma(cols + 1) * sum|x||w|, gamma(n) = n u / (1 - n u).
//   bf16 x, avx512_bf16: vdpbf16ps, two fused steps per pair of columns in ascending order;
//     subnormal operands and results count as zero.
//   bf16 x, amx_bf16: per block of 32 columns, the even and the odd columns are summed apart by
//     fused steps, added, and added to the total; subnormals as above. Error <= gamma(cols + 2).
//   bf16 x elsewhere: widened exactly, then as fp32 x.
// Flushing adds at most 2^-126 * sum(max(|x|, |w|, 1)) to these bounds.
#pragma once

#include <cstdint>

#include <sluice/executor.hpp>
#include <sluice/spec.hpp>

#include "kernels/isa.hpp"
#include "kernels/packed_matrix.hpp"

namespace sluice {

// Rows of a matrix in the caller's memory; `stride` in elements, at least the width.
template <typename T>
struct RowsView {
  T* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t stride = 0;
};

// x [tokens, w.cols()], out [tokens, w.rows()]; tokens = x.rows may be 0. Nothing is allocated but
// copies of x in the kernel's layout, which grow to the largest: the calling thread's of all of it,
// or each thread's of some tokens.
// `isa` null: the process's choice (default_isa()). Small products stay on the calling thread.
void linear(const PackedMatrix& w, RowsView<const float> x, RowsView<float> out, Executor& executor,
            const Isa* isa = nullptr);
// bf16 x (16-bit patterns).
void linear(const PackedMatrix& w, RowsView<const std::uint16_t> x, RowsView<float> out,
            Executor& executor, const Isa* isa = nullptr);

// x rounded to bf16 on its way into the kernel's layout; bf16 weights. The bits of the call before
// with rounded x.
void linear_of_rounded(const PackedMatrix& w, RowsView<const float> x, RowsView<float> out,
                       Executor& executor, const Isa* isa = nullptr);

// out[t, i] = act(gate_i . x) * (up_i . x) for a matrix made by PackedMatrix::gate_up; out is
// [tokens, width], width = number of gate rows. Activations: swiglu, geglu, geglu_tanh.
// The bf16 output is rounded once, from fp32.
void gated_linear(const PackedMatrix& gate_up, Activation activation, RowsView<const float> x,
                  RowsView<float> out, Executor& executor, const Isa* isa = nullptr);
void gated_linear(const PackedMatrix& gate_up, Activation activation,
                  RowsView<const std::uint16_t> x, RowsView<std::uint16_t> out, Executor& executor,
                  const Isa* isa = nullptr);
void gated_linear_of_rounded(const PackedMatrix& gate_up, Activation activation,
                             RowsView<const float> x, RowsView<std::uint16_t> out,
                             Executor& executor, const Isa* isa = nullptr);

// Vectorised conversions of `count` elements, to nearest even.
void convert_to_bf16(const float* from, std::uint16_t* to, std::int64_t count);
void convert_to_f32(const std::uint16_t* from_bf16, float* to, std::int64_t count);

}  // namespace sluice
