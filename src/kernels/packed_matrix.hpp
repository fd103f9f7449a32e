// Weights packed once for every instruction set: the format, and nothing about arithmetic.
//
// A matrix [rows, cols] is cut into panels of 16 rows; the last one is padded with zero rows.
// Panels follow one another, each contiguous, columns (k) outermost, so that a kernel streams it
// once:
//
//   f32   [panel][k   ][16 rows]      64 bytes per column
//   f16   [panel][k   ][16 rows]      32 bytes per column
//   bf16  [panel][k/2 ][16 rows][2]   64 bytes per pair of columns; an odd column is paired with 0
//
// 16 rows are one AVX-512 register, two AVX2 registers, and the width of an AMX tile. The bf16
// order is what vdpbf16ps and tdpbf16ps eat; the other instruction sets take the pair apart with a
// shift and a mask. One layout for all means that packing does not depend on the machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <sluice/executor.hpp>
#include <sluice/tensor.hpp>

#include "base/aligned_buffer.hpp"

namespace sluice {

inline constexpr std::int64_t kPanelRows = 16;

enum class PackedFormat : std::uint8_t { f32, bf16, f16 };

inline std::int64_t panel_count(std::int64_t rows) { return (rows + kPanelRows - 1) / kPanelRows; }
std::int64_t panel_bytes(PackedFormat format, std::int64_t cols);
// Throws Error(user) when the size does not fit.
std::size_t packed_bytes(PackedFormat format, std::int64_t rows, std::int64_t cols);

// What a kernel reads. Owns nothing.
struct PackedView {
  const std::byte* data = nullptr;
  PackedFormat format = PackedFormat::bf16;
  std::int64_t rows = 0;
  std::int64_t cols = 0;

  std::int64_t panels() const { return panel_count(rows); }
  std::int64_t panel_stride() const { return panel_bytes(format, cols); }
};

// One row of a source matrix, contiguous, possibly unaligned; no data: a row of zeros.
struct SourceRow {
  const void* data = nullptr;
  DType dtype = DType::f32;  // f32|bf16|f16
};

SourceRow source_row(const TensorView& matrix, std::int64_t row);

// Packs `rows` into `out` (packed_bytes long), rounding to `format` where it is narrower.
PackedView pack_rows(std::span<const SourceRow> rows, std::int64_t cols, PackedFormat format,
                     std::byte* out, Executor& executor);

// The rows of GEMM 1 so that panel 2p holds 16 gate rows and panel 2p + 1 the same 16 up rows (zero
// rows where the width is no multiple of 16): both halves of an activation come out of one tile.
// `gate` and `up` have the same size.
std::size_t gate_up_packed_rows(std::int64_t width);
void interleave_gate_up(std::span<const SourceRow> gate, std::span<const SourceRow> up,
                        std::span<SourceRow> out);

// A packed matrix that owns its memory (huge pages where the system gives them).
class PackedMatrix {
 public:
  PackedMatrix() = default;
  // The rows of all `parts` stacked; each part [rows, cols] f32|bf16|f16, all of the same width.
  PackedMatrix(std::span<const TensorView> parts, PackedFormat format, Executor& executor);
  // Rows gate and up [width, cols], interleaved by panels for gated_linear().
  static PackedMatrix gate_up(const TensorView& gate, const TensorView& up, PackedFormat format,
                              Executor& executor);

  bool empty() const { return view_.data == nullptr; }
  std::int64_t rows() const { return view_.rows; }
  std::int64_t cols() const { return view_.cols; }
  // Rows of the gate for a matrix made by gate_up(), else 0.
  std::int64_t gate_rows() const { return gate_rows_; }
  PackedFormat format() const { return view_.format; }
  std::size_t bytes() const { return storage_.size(); }
  const PackedView& view() const { return view_; }

 private:
  PackedMatrix(std::span<const SourceRow> rows, std::int64_t cols, PackedFormat format,
               Executor& executor);
  AlignedBuffer storage_;
  PackedView view_;
  std::int64_t gate_rows_ = 0;
};

// The format that keeps every bit of a plain float dtype. Throws Error(unsupported) for others.
PackedFormat packed_format_of(DType dtype);

}  // namespace sluice
