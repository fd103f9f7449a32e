#include "kernels/packed_matrix.hpp"

#include <atomic>
#include <cstring>
#include <vector>

#include "base/checked.hpp"
#include "base/element.hpp"
#include "base/fail.hpp"

namespace sluice {
namespace {

std::int64_t element_bytes(PackedFormat format) { return format == PackedFormat::f32 ? 4 : 2; }

DType dtype_of(PackedFormat format) {
  switch (format) {
    case PackedFormat::f32:
      return DType::f32;
    case PackedFormat::bf16:
      return DType::bf16;
    case PackedFormat::f16:
      return DType::f16;
  }
  fail(ErrorKind::internal, "packed format {}", static_cast<int>(format));
}

// Columns stored side by side for each row.
std::int64_t group_of(PackedFormat format) { return format == PackedFormat::bf16 ? 2 : 1; }

// One row of a panel: elements `group` apart by 16 * group in the panel.
template <typename T, std::int64_t group>
void scatter_same(const void* from, std::int64_t cols, std::int64_t lane, std::byte* panel) {
  const auto* source = static_cast<const std::byte*>(from);
  auto* to = panel + lane * group * static_cast<std::int64_t>(sizeof(T));
  constexpr std::size_t kStep = sizeof(T) * group;
  std::int64_t c = 0;
  for (; c + group <= cols; c += group) {
    std::memcpy(to, source, kStep);
    source += kStep;
    to += kStep * kPanelRows;
  }
  if (c < cols) std::memcpy(to, source, sizeof(T));
}

void scatter_converted(const SourceRow& row, std::int64_t cols, PackedFormat format,
                       std::int64_t lane, std::byte* panel) {
  const std::int64_t group = group_of(format);
  const DType dtype = dtype_of(format);
  for (std::int64_t c = 0; c < cols; ++c) {
    const std::int64_t index = (c / group * kPanelRows + lane) * group + c % group;
    store_float(panel, dtype, index, load_float(row.data, row.dtype, c));
  }
}

void scatter_row(const SourceRow& row, std::int64_t cols, PackedFormat format, std::int64_t lane,
                 std::byte* panel) {
  if (row.data == nullptr) return;  // the panel starts as zeros
  if (row.dtype != dtype_of(format)) return scatter_converted(row, cols, format, lane, panel);
  switch (format) {
    case PackedFormat::f32:
      return scatter_same<float, 1>(row.data, cols, lane, panel);
    case PackedFormat::bf16:
      return scatter_same<std::uint16_t, 2>(row.data, cols, lane, panel);
    case PackedFormat::f16:
      return scatter_same<std::uint16_t, 1>(row.data, cols, lane, panel);
  }
}

std::vector<SourceRow> rows_of(std::span<const TensorView> parts) {
  std::vector<SourceRow> rows;
  for (const TensorView& part : parts) {
    if (part.shape.rank() != 2 || part.shape[1] != parts[0].shape[1]) {
      fail(ErrorKind::user, "cannot stack a matrix of shape {} under one of shape {}",
           to_string(part.shape), to_string(parts[0].shape));
    }
    for (std::int64_t row = 0; row < part.shape[0]; ++row) rows.push_back(source_row(part, row));
  }
  return rows;
}

}  // namespace

std::int64_t panel_bytes(PackedFormat format, std::int64_t cols) {
  const std::int64_t group = group_of(format);
  return (cols + group - 1) / group * group * kPanelRows * element_bytes(format);
}

std::size_t packed_bytes(PackedFormat format, std::int64_t rows, std::int64_t cols) {
  const auto bytes = checked_mul(panel_bytes(format, cols), panel_count(rows));
  if (!bytes) fail(ErrorKind::user, "a matrix [{}, {}] is too large to pack", rows, cols);
  return static_cast<std::size_t>(*bytes);
}

SourceRow source_row(const TensorView& matrix, std::int64_t row) {
  if (!is_plain_float(matrix.dtype)) {
    fail(ErrorKind::unsupported, "weights of dtype {} cannot be packed; F32, BF16 and F16 can",
         to_string(matrix.dtype));
  }
  const std::int64_t row_bytes = matrix.shape[1] * bits(matrix.dtype) / 8;
  return {static_cast<const std::byte*>(matrix.data) + row * row_bytes, matrix.dtype};
}

PackedView pack_rows(std::span<const SourceRow> rows, std::int64_t cols, PackedFormat format,
                     std::byte* out, Executor& executor) {
  const auto count = static_cast<std::int64_t>(rows.size());
  const PackedView view{out, format, count, cols};
  std::atomic<std::int64_t> next{0};
  auto pack = [&](int) {
    for (;;) {
      const std::int64_t panel = next.fetch_add(1, std::memory_order_relaxed);
      if (panel >= view.panels()) return;
      std::byte* to = out + panel * view.panel_stride();
      std::memset(to, 0, static_cast<std::size_t>(view.panel_stride()));
      for (std::int64_t lane = 0; lane < kPanelRows; ++lane) {
        const std::int64_t row = panel * kPanelRows + lane;
        if (row < count) scatter_row(rows[static_cast<std::size_t>(row)], cols, format, lane, to);
      }
    }
  };
  executor.run(pack);
  return view;
}

std::size_t gate_up_packed_rows(std::int64_t width) {
  return static_cast<std::size_t>(2 * panel_count(width) * kPanelRows);
}

void interleave_gate_up(std::span<const SourceRow> gate, std::span<const SourceRow> up,
                        std::span<SourceRow> out) {
  constexpr auto kRows = static_cast<std::size_t>(kPanelRows);
  std::fill(out.begin(), out.end(), SourceRow{});
  for (std::size_t i = 0; i < gate.size(); ++i) {
    const std::size_t at = i / kRows * 2 * kRows + i % kRows;
    out[at] = gate[i];
    out[at + kRows] = up[i];
  }
}

PackedMatrix::PackedMatrix(std::span<const SourceRow> rows, std::int64_t cols, PackedFormat format,
                           Executor& executor)
    : storage_(packed_bytes(format, static_cast<std::int64_t>(rows.size()), cols)),
      view_(pack_rows(rows, cols, format, storage_.data(), executor)) {}

PackedMatrix::PackedMatrix(std::span<const TensorView> parts, PackedFormat format,
                           Executor& executor)
    : PackedMatrix(rows_of(parts), parts.empty() ? 0 : parts[0].shape[1], format, executor) {}

PackedMatrix PackedMatrix::gate_up(const TensorView& gate, const TensorView& up,
                                   PackedFormat format, Executor& executor) {
  if (gate.shape != up.shape) {
    fail(ErrorKind::user, "gate has shape {} but up has shape {}; they must be alike",
         to_string(gate.shape), to_string(up.shape));
  }
  std::vector<SourceRow> rows(gate_up_packed_rows(gate.shape[0]));
  interleave_gate_up(rows_of({&gate, 1}), rows_of({&up, 1}), rows);
  PackedMatrix matrix(rows, gate.shape[1], format, executor);
  matrix.gate_rows_ = gate.shape[0];
  return matrix;
}

PackedFormat packed_format_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return PackedFormat::f32;
    case DType::bf16:
      return PackedFormat::bf16;
    case DType::f16:
      return PackedFormat::f16;
    default:
      fail(ErrorKind::unsupported, "weights of dtype {} cannot be packed; F32, BF16 and F16 can",
           to_string(dtype));
  }
}

}  // namespace sluice
