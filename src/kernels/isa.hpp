// What an instruction set gives: a few primitives on one worker's tile of work. Formats are in
// packed_matrix.hpp, schedules in linear.cpp and backends/cpu.
//
// This header is included by files compiled for one instruction set. Its functions are static: an
// inline function compiled with AVX-512 could replace the generic one at link time.
#pragma once

#include <cstdint>

namespace sluice {

// What the elements of a row are. f32_bf16 and f32_f16 are fp32 memory that holds values rounded to
// the narrow format, for kernels that multiply in fp32.
enum class RowFormat : std::int32_t { f32, bf16, f16, f32_bf16, f32_f16 };

// How a kernel wants its x: tokens in tiles of nearly equal height, one after another, and within a
// tile
//
//   [columns / group][tokens of the tile][group columns]
//
// so that a step reads what it needs of all tokens side by side, as one stream. Columns are padded
// to whole groups; kernels do not look at the padding. One token is a plain row.
struct XLayout {
  std::int64_t tile;   // most tokens of a tile
  std::int64_t group;  // columns of a token that lie side by side
};

inline constexpr std::int64_t kMostTileTokens = 32;  // of any kernel's layout

static inline std::int64_t tile_count(const XLayout& layout, std::int64_t tokens) {
  return (tokens + layout.tile - 1) / layout.tile;
}

// First token of tile `index` of `tiles`. Where heights differ the last tiles are one taller: a
// kernel may then treat all as tall and let each overwrite the row too many of the one before.
static inline std::int64_t tile_begin(std::int64_t tokens, std::int64_t tiles, std::int64_t index) {
  const std::int64_t lower = tiles - tokens % tiles;
  return tokens / tiles * index + (index > lower ? index - lower : 0);
}

static inline std::int64_t padded_columns(const XLayout& layout, std::int64_t cols) {
  return (cols + layout.group - 1) / layout.group * layout.group;
}

// c[t, r] = sum over k of x[t, k] * w[r, k], for all rows r of consecutive panels.
struct PanelJob {
  const void* x;          // [tokens, cols] in the kernel's layout
  const void* w;          // first panel
  std::int64_t w_stride;  // bytes between panels
  float* c;               // [tokens, panels * 16]
  std::int64_t c_stride;  // floats between tokens
  std::int64_t tokens;
  std::int64_t panels;
  std::int64_t cols;
  // The panels that this worker multiplies next, or null: their heads are fetched towards the end.
  const void* next_w;
  std::int64_t next_stride;
  // c is more than caches hold, and read after all of it is written: a kernel may write it past
  // them.
  bool c_streams;
  // w is in the second cache already: nothing is fetched.
  bool w_near = false;
};

// Whether so many floats of results are for c_streams: more than a second cache or two.
static inline bool is_streamed(std::int64_t floats) { return floats >= std::int64_t{1} << 20; }

struct PanelKernel {
  void (*run)(const PanelJob&);
  XLayout layout;
  // What a thread may call before several products and after them, in pairs, to set up once what
  // each would set up; null where there is nothing.
  void (*begin)() = nullptr;
  void (*end)() = nullptr;
};

// Rows into one tile of a kernel's layout, rounded to `to_format`.
struct PackJob {
  const void* const* rows;  // [tokens] of from_format, possibly unaligned; kMostTileTokens at most
  const float* scales;      // [tokens], each element times its row's, in fp32; or null
  void* to;
  std::int64_t tokens;
  std::int64_t cols;
  std::int64_t group;
  RowFormat from_format;
  RowFormat to_format;
};

enum class ActivationCode : std::int32_t { swiglu, geglu, geglu_tanh, relu2, silu, gelu, identity };

// Pre-activations of tokens to their rows of GEMM 2's input.
struct ActivationJob {
  const float* c;     // gated: panels of 16 gates and 16 ups in turn; else plain. Whole panels
  const float* bias;  // laid out as c, or null
  void* out;          // a row in out_format
  std::int64_t count;
  ActivationCode activation;
  RowFormat out_format;
  float alpha, beta, limit;  // swiglu; 1, 0, +inf: plain SiLU times up
  std::int64_t first = 0;    // column of `out` that c begins with, a multiple of 16
  // Where `out` is a token of a tile in a kernel's layout: columns side by side, and bytes from
  // these to the next. 0: a plain row.
  std::int64_t group = 0;
  std::int64_t group_stride = 0;
  // How many, side by side in a tile of that layout: at most kMostTileTokens. Of plain rows, one.
  std::int64_t tokens = 1;
  std::int64_t c_stride = 0;  // floats between tokens
};

// One row, each element times `scale` in fp32, then rounded.
struct ConvertJob {
  const void* from;  // f32|bf16|f16, possibly unaligned
  void* to;          // possibly unaligned
  std::int64_t count;
  RowFormat from_format;
  RowFormat to_format;
  float scale;
};

// sum[i] = (onto ? sum[i] : 0) + weights[0] * rows[0][i] + weights[1] * rows[1][i] + … in this
// order: all rows at once, because each comes from memory on its own.
struct AccumulateJob {
  float* sum;
  const float* const* rows;  // [terms]
  const float* weights;      // [terms]
  std::int64_t terms;
  std::int64_t count;
  bool onto;
};

// Runs `rounds` rounds of independent products in registers: the rate that no kernel can pass.
struct ArithmeticLoop {
  void (*run)(std::int64_t rounds);
  std::int64_t operations;  // multiplications and additions of one round
};

struct Isa {
  const char* name;               // the value of SLUICE_ISA
  PanelKernel f32_f32;            // x f32, weights f32; and so on
  PanelKernel f32_f32_in_double;  // the same, its sums in double
  PanelKernel f32_bf16;
  PanelKernel f32_f16;
  // Multiplies pairs of bf16 at more than fp32's rate; run is null where the instruction set has no
  // such thing: widen x and take f32_bf16.
  PanelKernel bf16_bf16;
  void (*pack)(const PackJob&);
  void (*activate)(const ActivationJob&);
  void (*convert)(const ConvertJob&);
  void (*accumulate)(const AccumulateJob&);
  ArithmeticLoop fp32_loop;
  ArithmeticLoop bf16_loop;
};

}  // namespace sluice
