// Rows of x for a panel product: which kernel multiplies them, and its layout.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/isa.hpp"
#include "kernels/packed_matrix.hpp"

namespace sluice {

// A kernel, and what it wants its x to be made of: bf16 where the instruction set multiplies bf16,
// else fp32.
struct RowKernel {
  const PanelKernel* kernel;
  RowFormat format;
  std::int64_t element_bytes;

  // Bytes that `cols` columns of one token take.
  std::int64_t token_bytes(std::int64_t cols) const {
    return padded_columns(kernel->layout, cols) * element_bytes;
  }
};

// x is f32 or bf16. Throws Error(unsupported) for bf16 x with weights of another format.
RowKernel row_kernel(const Isa& isa, PackedFormat weights, RowFormat x);

// Rows in the caller's memory.
struct SourceRows {
  const std::byte* data;
  std::int64_t count;
  std::int64_t stride;  // bytes
  RowFormat format;     // f32 or bf16
};

// All rows into the kernel's layout: count * token_bytes(cols) bytes at `to`.
void pack_x(const Isa& isa, const RowKernel& kernel, const SourceRows& rows, std::int64_t cols,
            std::byte* to);
// The same of rows that lie anywhere.
void pack_x(const Isa& isa, const RowKernel& kernel, std::span<const void* const> rows,
            RowFormat format, std::int64_t cols, std::byte* to);

}  // namespace sluice
