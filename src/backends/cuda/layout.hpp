// How matrices lie in device memory: what pack.cu and staging.cuh write and wgmma reads.
//
//   block   64 columns of one row: 128 bytes, eight chunks of 16
//   group   8 rows x 64 columns = 1024 bytes: row r at 128 r, its chunk c at 16 (c ^ r)
//           (the 128-byte swizzle: eight rows' equal chunks lie in different banks)
//   tile    64 rows x 64 columns: 8 groups = 8 KiB, one bulk copy
//
//   weights [expert][row tile][column block] tiles: a row tile's stream is contiguous
//   tokens  [column block][group] groups: the tokens of an expert are contiguous in a block
//
// GEMM 1's rows alternate 8 gate, 8 up: a thread of the accumulator holds rows r and r + 8 of 16,
// so that it has gate and up of the same intermediate unit.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define SLUICE_HOST_DEVICE __host__ __device__
#else
#define SLUICE_HOST_DEVICE
#endif

namespace sluice::cuda {

inline constexpr std::int64_t kBlockColumns = 64;
inline constexpr std::int64_t kGroupRows = 8;
inline constexpr std::int64_t kGroupBytes = 1024;
inline constexpr std::int64_t kTileRows = 64;
inline constexpr std::int64_t kTileBytes = 8192;
inline constexpr std::int64_t kPairRows = 128;  // two tiles: rows are padded to these

SLUICE_HOST_DEVICE constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}
SLUICE_HOST_DEVICE constexpr std::int64_t round_up(std::int64_t a, std::int64_t b) {
  return ceil_div(a, b) * b;
}

// Byte of chunk `chunk` (8 columns) of row `row` inside a group; row and chunk in 0 … 7.
SLUICE_HOST_DEVICE constexpr std::int64_t chunk_offset(std::int64_t row, std::int64_t chunk) {
  return row * 128 + ((chunk ^ row) * 16);
}

// Byte of element (row, column) of a matrix of tiles, [row tile][column block].
SLUICE_HOST_DEVICE constexpr std::int64_t weight_offset(std::int64_t row, std::int64_t column,
                                                        std::int64_t column_blocks) {
  return (row / kTileRows * column_blocks + column / kBlockColumns) * kTileBytes +
         row % kTileRows / kGroupRows * kGroupBytes +
         chunk_offset(row % kGroupRows, column % kBlockColumns / 8) + column % 8 * 2;
}

// Byte of element (row, column) of staged tokens, [column block][groups].
SLUICE_HOST_DEVICE constexpr std::int64_t token_offset(std::int64_t row, std::int64_t column,
                                                       std::int64_t groups) {
  return (column / kBlockColumns * groups + row / kGroupRows) * kGroupBytes +
         chunk_offset(row % kGroupRows, column % kBlockColumns / 8) + column % 8 * 2;
}

// Sizes of one feed-forward block (a routed expert, or all shared experts), padded.
struct BlockShape {
  std::int64_t hidden = 0;
  std::int64_t width = 0;  // I, or the shared width, of this rank
  bool gated = true;

  SLUICE_HOST_DEVICE constexpr std::int64_t units() const {  // padded width
    return round_up(width, gated ? kBlockColumns : kPairRows);
  }
  SLUICE_HOST_DEVICE constexpr std::int64_t rows1() const { return gated ? 2 * units() : units(); }
  SLUICE_HOST_DEVICE constexpr std::int64_t columns1() const {  // in blocks
    return ceil_div(hidden, kBlockColumns);
  }
  SLUICE_HOST_DEVICE constexpr std::int64_t rows2() const { return round_up(hidden, kPairRows); }
  SLUICE_HOST_DEVICE constexpr std::int64_t columns2() const { return units() / kBlockColumns; }
  SLUICE_HOST_DEVICE constexpr std::int64_t bytes1() const {
    return rows1() * columns1() * kBlockColumns * 2;
  }
  SLUICE_HOST_DEVICE constexpr std::int64_t bytes2() const {
    return rows2() * columns2() * kBlockColumns * 2;
  }
};

// Slot outputs: rows of blocks of 16 columns, in which the columns c and c + 8 are neighbours. A
// thread of the accumulator holds both, and stores them as one pair; the eight threads of a token
// write the whole block.
SLUICE_HOST_DEVICE constexpr std::int64_t output_columns(std::int64_t hidden) {
  return round_up(hidden, 16);
}

// The first column of `pairs` neighbouring pairs, of which a block has eight; the pairs' other
// columns begin 8 further on.
SLUICE_HOST_DEVICE constexpr int pair_column(int chunk, int pairs) {
  return chunk * pairs / 8 * 16 + chunk * pairs % 8;
}

// Packed row of GEMM 1 that holds gate unit u; the up unit stands 8 rows below.
SLUICE_HOST_DEVICE constexpr std::int64_t gate_row(std::int64_t unit) {
  return unit / 8 * 16 + unit % 8;
}

}  // namespace sluice::cuda
