// AMX: tdpbf16ps multiplies a tile of 16 tokens x 32 columns by one of 32 columns x 16 rows, which
// is 1024 contiguous bytes of a panel. Compiled with its flags: intrinsics and internal linkage
// only.
#include <immintrin.h>

#include "kernels/isa/isa_files.hpp"

namespace sluice {
namespace {

constexpr long kTileColumns = 32;
constexpr long kTileBytes = 1024;
constexpr long kRowBytes = 64;

struct alignas(64) TileConfig {
  unsigned char palette = 1;
  unsigned char start_row = 0;
  unsigned char reserved[14] = {};
  unsigned short row_bytes[16] = {};
  unsigned char rows[16] = {};
};

// Registers: sums 0 and 1 (first tokens, two panels), 2 and 3 (second tokens), x 4 and 5,
// weights 6 and 7. Tiles of x and sums have as many rows as there are tokens, so that nothing
// beyond the caller's rows is read or written.
void configure(long first_tokens, long second_tokens) {
  TileConfig config;
  const long rows[8] = {first_tokens,
                        first_tokens,
                        second_tokens,
                        second_tokens,
                        first_tokens,
                        second_tokens,
                        16,
                        16};
  for (int tile = 0; tile < 8; ++tile) {
    if (rows[tile] == 0) continue;
    config.row_bytes[tile] = kRowBytes;
    config.rows[tile] = static_cast<unsigned char>(rows[tile]);
  }
  // Not _tile_loadconfig: GCC's tells the compiler of the first 8 bytes only, and the stores to the
  // others may be dropped.
  __asm__ volatile("ldtilecfg %0" ::"m"(config));
}

// What is left of the columns when they are no multiple of 32, padded with zeros: reading on would
// multiply the neighbour's weights, and 0 * inf is not 0.
struct alignas(64) Tail {
  char x[32 * kRowBytes];
  char w[2][kTileBytes];

  void fill(const char* x_from, long x_stride, long tokens, const char* w_from, long w_stride,
            long panels, long columns) {
    __builtin_memset(x, 0, sizeof x);
    for (long t = 0; t < tokens; ++t) {
      __builtin_memcpy(x + t * kRowBytes, x_from + t * x_stride,
                       static_cast<unsigned long>(columns) * 2);
    }
    __builtin_memset(w, 0, sizeof w);
    const long pairs = (columns + 1) / 2;
    for (long p = 0; p < panels; ++p) {
      __builtin_memcpy(w[p], w_from + p * w_stride, static_cast<unsigned long>(pairs) * kRowBytes);
    }
  }
};

// Few tokens stream their weights from memory: 4 KiB ahead per panel covers its latency (100 ns) at
// a core's share of the bandwidth, and reaches over the page ends at which hardware prefetching
// stops.
constexpr long kPrefetchBytes = 4096;

template <int panels>
inline __attribute__((always_inline)) void prefetch(const char* w, long w_stride) {
  for (int line = 0; line < 16; ++line) {
    for (int p = 0; p < panels; ++p) {
      __builtin_prefetch(w + p * w_stride + kPrefetchBytes + line * kRowBytes);
    }
  }
}

template <bool second, int panels>
inline __attribute__((always_inline)) void multiply(const char* x, long x_stride, long first_tokens,
                                                    const char* w, long w_stride) {
  _tile_loadd(6, w, kRowBytes);
  _tile_loadd(4, x, x_stride);
  _tile_dpbf16ps(0, 4, 6);
  if constexpr (panels == 2) {
    _tile_loadd(7, w + w_stride, kRowBytes);
    _tile_dpbf16ps(1, 4, 7);
  }
  if constexpr (second) {
    _tile_loadd(5, x + first_tokens * x_stride, x_stride);
    _tile_dpbf16ps(2, 5, 6);
    if constexpr (panels == 2) _tile_dpbf16ps(3, 5, 7);
  }
}

// A block of tokens in two tiles, the second possibly empty, against some columns of the job.
struct Piece {
  long token, first_tokens, second_tokens;
  long panel;
  long begin, end;  // columns; begin is a multiple of 32
  bool streaming;   // no other block of tokens will read these weights from cache
};

// Sums continue from c unless the piece begins at column 0.
template <bool second, int panels>
void multiply_piece(const PanelJob& job, const Piece& piece) {
  const char* x = static_cast<const char*>(job.x) + piece.token * job.x_stride + piece.begin * 2;
  const char* w = static_cast<const char*>(job.w) + piece.panel * job.w_stride +
                  piece.begin / kTileColumns * kTileBytes;
  float* c = job.c + piece.token * job.c_stride + piece.panel * 16;
  float* c_second = c + piece.first_tokens * job.c_stride;
  const long c_bytes = job.c_stride * 4;
  if (piece.begin == 0) {
    _tile_zero(0);
    if constexpr (panels == 2) _tile_zero(1);
    if constexpr (second) _tile_zero(2);
    if constexpr (second && panels == 2) _tile_zero(3);
  } else {
    _tile_loadd(0, c, c_bytes);
    if constexpr (panels == 2) _tile_loadd(1, c + 16, c_bytes);
    if constexpr (second) _tile_loadd(2, c_second, c_bytes);
    if constexpr (second && panels == 2) _tile_loadd(3, c_second + 16, c_bytes);
  }
  long k = piece.begin;
  for (; k + kTileColumns <= piece.end; k += kTileColumns) {
    if (piece.streaming) prefetch<panels>(w, job.w_stride);
    multiply<second, panels>(x, job.x_stride, piece.first_tokens, w, job.w_stride);
    x += kRowBytes;
    w += kTileBytes;
  }
  if (k < piece.end) {
    Tail tail;
    tail.fill(x, job.x_stride, piece.first_tokens + piece.second_tokens, w, job.w_stride, panels,
              piece.end - k);
    // Tile loads are not known to read memory: without this the stores to `tail` may be dropped.
    __asm__ volatile("" ::"r"(&tail) : "memory");
    multiply<second, panels>(tail.x, kRowBytes, piece.first_tokens, tail.w[0], kTileBytes);
  }
  _tile_stored(0, c, c_bytes);
  if constexpr (panels == 2) _tile_stored(1, c + 16, c_bytes);
  if constexpr (second) {
    _tile_stored(2, c_second, c_bytes);
    if constexpr (panels == 2) _tile_stored(3, c_second + 16, c_bytes);
  }
}

void run_piece(const PanelJob& job, const Piece& piece) {
  const bool pair = piece.panel + 2 <= job.panels;
  if (piece.second_tokens > 0) {
    return pair ? multiply_piece<true, 2>(job, piece) : multiply_piece<true, 1>(job, piece);
  }
  return pair ? multiply_piece<false, 2>(job, piece) : multiply_piece<false, 1>(job, piece);
}

// Blocks of at most 32 tokens, the first ones one token taller where they cannot be equal, so that
// tiles change shape at most once per sweep over the blocks.
struct Blocks {
  long count, height, taller;
  explicit Blocks(long tokens)
      : count((tokens + 31) / 32), height(tokens / count), taller(tokens % count) {}
  long tokens(long block) const { return height + (block < taller ? 1 : 0); }
};

// 512 columns of two panels are 32 KiB, which stay in a 48 KiB L1 while every block of tokens
// passes over them; x then comes from L2 at half the rate of tile loads that the products leave
// room for.
constexpr long kCacheColumns = 512;

void amx_panels(const PanelJob& job) {
  if (job.tokens == 0) return;
  const Blocks blocks(job.tokens);
  const bool streaming = blocks.count == 1;
  const long step = streaming ? job.cols : kCacheColumns;
  long configured = 0;
  for (long panel = 0; panel < job.panels; panel += 2) {
    for (long begin = 0; begin < job.cols; begin += step) {
      const long end = begin + step < job.cols ? begin + step : job.cols;
      long token = 0;
      for (long block = 0; block < blocks.count; ++block) {
        const long tokens = blocks.tokens(block);
        const long first = tokens > 16 ? (tokens + 1) / 2 : tokens;
        if (tokens != configured) configure(first, tokens - first);
        configured = tokens;
        run_piece(job, {token, first, tokens - first, panel, begin, end, streaming});
        token += tokens;
      }
    }
  }
  _tile_release();
}

void arithmetic_loop(long rounds) {
  configure(16, 16);
  for (long round = 0; round < rounds; ++round) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_release();
}

}  // namespace

// Four products of 16 tokens x 32 columns x 16 rows.
extern const Bf16Panels kAmxBf16Panels{amx_panels, {arithmetic_loop, 4 * 16 * 32 * 16 * 2}};

}  // namespace sluice
