#include "kernels/packed_rows.hpp"

#include "base/fail.hpp"

namespace sluice {

RowKernel row_kernel(const Isa& isa, PackedFormat weights, RowFormat x) {
  if (x == RowFormat::bf16) {
    if (weights != PackedFormat::bf16) {
      fail(ErrorKind::unsupported, "bf16 activations need bf16 weights; give fp32 activations");
    }
    if (isa.bf16_bf16.run != nullptr) return {&isa.bf16_bf16, RowFormat::bf16, 2};
  }
  switch (weights) {
    case PackedFormat::f32:
      return {&isa.f32_f32_in_double, RowFormat::f32, 4};
    case PackedFormat::bf16:
      return {&isa.f32_bf16, RowFormat::f32, 4};
    case PackedFormat::f16:
      return {&isa.f32_f16, RowFormat::f32, 4};
  }
  fail(ErrorKind::internal, "packed format {}", static_cast<int>(weights));
}

namespace {

// Tile by tile; source(row) says where a row lies.
template <typename Source>
void pack_tiles(const Isa& isa, const RowKernel& kernel, std::int64_t rows, RowFormat format,
                std::int64_t cols, std::byte* to, const Source& source) {
  const XLayout& layout = kernel.kernel->layout;
  const std::int64_t tiles = tile_count(layout, rows);
  const std::int64_t token_bytes = kernel.token_bytes(cols);
  for (std::int64_t tile = 0; tile < tiles; ++tile) {
    const std::int64_t first = tile_begin(rows, tiles, tile);
    const std::int64_t count = tile_begin(rows, tiles, tile + 1) - first;
    const void* sources[kMostTileTokens];
    for (std::int64_t t = 0; t < count; ++t) sources[t] = source(first + t);
    isa.pack({sources, nullptr, to + first * token_bytes, count, cols, layout.group, format,
              kernel.format});
  }
}

}  // namespace

void pack_x(const Isa& isa, const RowKernel& kernel, const SourceRows& rows, std::int64_t cols,
            std::byte* to) {
  pack_tiles(isa, kernel, rows.count, rows.format, cols, to,
             [&](std::int64_t row) { return rows.data + row * rows.stride; });
}

void pack_x(const Isa& isa, const RowKernel& kernel, std::span<const void* const> rows,
            RowFormat format, std::int64_t cols, std::byte* to) {
  pack_tiles(isa, kernel, std::ssize(rows), format, cols, to,
             [&](std::int64_t row) { return rows[static_cast<std::size_t>(row)]; });
}

}  // namespace sluice
