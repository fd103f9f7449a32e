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

#define SLUICE_INLINE inline __attribute__((always_inline))

struct alignas(64) TileConfig {
  unsigned char palette = 1;
  unsigned char start_row = 0;
  unsigned char reserved[14] = {};
  unsigned short row_bytes[16] = {};
  unsigned char rows[16] = {};
};

// Registers: sums 2 t and 2 t + 1 of a block's tile t (two panels), weights 6, x 7. Two stay
// unused: with all eight in use and another thread on the same core, loads wait for the products
// before them (registers are no longer renamed), 1.5 times the time.
//
// All tiles of a job are as tall as its tallest. A lower one reads a row of x too many, from the
// tile behind it, and stores a row of sums too many, which that tile overwrites: the last tile is
// the tallest (tile_begin).
void configure(long height) {
  TileConfig config;
  for (int tile = 0; tile < 8; ++tile) {
    config.row_bytes[tile] = kRowBytes;
    config.rows[tile] = static_cast<unsigned char>(tile == 6 ? 16 : height);
  }
  // Not _tile_loadconfig: GCC's tells the compiler of the first 8 bytes only, and the stores to the
  // others may be dropped.
  __asm__ volatile("ldtilecfg %0" ::"m"(config));
}

// One or two tiles of tokens.
struct Block {
  const char* x;
  const char* x_second;
  long x_step, x_second_step;  // bytes of a tile's 32 columns
  float* c;
  float* c_second;
  long c_stride;  // floats between tokens
};

constexpr XLayout kLayout{16, kTileColumns};
constexpr long kMostTiles = 2;

// What is left of the columns when they are no multiple of 32, padded with zeros: reading on would
// multiply the neighbour's weights, and 0 * inf is not 0.
struct alignas(64) Tail {
  char x[kMostTiles][kTileBytes];
  char w[2][kTileBytes];

  void fill_x(int tile, const char* from, long rows, long columns) {
    __builtin_memset(x[tile], 0, kTileBytes);
    for (long t = 0; t < rows; ++t) {
      __builtin_memcpy(x[tile] + t * kRowBytes, from + t * kRowBytes,
                       static_cast<unsigned long>(columns) * 2);
    }
  }

  void fill_w(const char* from, long w_stride, long panels, long columns) {
    __builtin_memset(w, 0, sizeof w);
    const long pairs = (columns + 1) / 2;
    for (long p = 0; p < panels; ++p) {
      __builtin_memcpy(w[p], from + p * w_stride, static_cast<unsigned long>(pairs) * kRowBytes);
    }
  }
};

// Weights wanted next, fetched while these are multiplied: lines [first, last) of each tile of the
// panels at `w`; a block alone fetches 4 KiB ahead in its own panels for `own` columns before.
struct Fetch {
  const char* w;
  long stride;
  int first, last;
  long own;
};

// DRAM latency (100 ns) at a core's share of its bandwidth, and past the page ends at which
// hardware prefetching stops.
constexpr long kStreamAhead = 4096;

template <int panels>
SLUICE_INLINE void fetch_lines(const char* w, long stride, const Fetch& fetch) {
  for (int line = fetch.first; line < fetch.last; ++line) {
    for (int p = 0; p < panels; ++p) __builtin_prefetch(w + p * stride + line * kRowBytes, 0, 2);
  }
}

template <int tiles, int panels>
SLUICE_INLINE void multiply(const char* x, const char* x_second, const char* w, long w_stride) {
  _tile_loadd(7, x, kRowBytes);
  _tile_loadd(6, w, kRowBytes);
  _tile_dpbf16ps(0, 7, 6);
  if constexpr (panels == 2) {
    _tile_loadd(6, w + w_stride, kRowBytes);
    _tile_dpbf16ps(1, 7, 6);
  }
  if constexpr (tiles == 2) {
    _tile_loadd(7, x_second, kRowBytes);
    if constexpr (panels == 2) {
      _tile_dpbf16ps(3, 7, 6);
      _tile_loadd(6, w, kRowBytes);
    }
    _tile_dpbf16ps(2, 7, 6);
  }
}

template <int tiles, int panels>
SLUICE_INLINE void clear_sums() {
  _tile_zero(0);
  if constexpr (panels == 2) _tile_zero(1);
  if constexpr (tiles == 2) _tile_zero(2);
  if constexpr (tiles == 2 && panels == 2) _tile_zero(3);
}

template <int tiles, int panels>
SLUICE_INLINE void store_sums(const Block& block) {
  float* c = block.c;
  float* second = block.c_second;
  const long stride = block.c_stride * 4;
  _tile_stored(0, c, stride);
  if constexpr (panels == 2) _tile_stored(1, c + 16, stride);
  if constexpr (tiles == 2) _tile_stored(2, second, stride);
  if constexpr (tiles == 2 && panels == 2) _tile_stored(3, second + 16, stride);
}

template <int tiles, int panels>
void multiply_block(const Block& block, const char* w, long w_stride, long cols,
                    const Fetch& fetch) {
  const char* x = block.x;
  const char* x_second = block.x_second;
  clear_sums<tiles, panels>();
  const char* wanted = w + kStreamAhead;
  long wanted_stride = w_stride;
  long end = fetch.own;
  long k = 0;
  for (int part = 0; part < 2; ++part) {
    for (; k + kTileColumns <= end; k += kTileColumns) {
      fetch_lines<panels>(wanted, wanted_stride, fetch);
      multiply<tiles, panels>(x, x_second, w, w_stride);
      x += block.x_step;
      x_second += block.x_second_step;
      w += kTileBytes;
      wanted += kTileBytes;
    }
    wanted = fetch.w;
    wanted_stride = fetch.stride;
    end = cols;
  }
  if (k < cols) {
    Tail tail;
    tail.fill_x(0, x, block.x_step / kRowBytes, cols - k);
    if constexpr (tiles == 2) tail.fill_x(1, x_second, block.x_second_step / kRowBytes, cols - k);
    tail.fill_w(w, w_stride, panels, cols - k);
    // Tile loads are not known to read memory: without this the stores to `tail` may be dropped.
    __asm__ volatile("" ::"r"(&tail) : "memory");
    multiply<tiles, panels>(tail.x[0], tail.x[1], tail.w[0], kTileBytes);
  }
  store_sums<tiles, panels>(block);
}

// All tokens against one or two panels, two tiles at a time.
template <int panels>
void sweep(const PanelJob& job, long panel) {
  const long tiles = tile_count(kLayout, job.tokens);
  const long token_bytes = padded_columns(kLayout, job.cols) * 2;
  const char* w = static_cast<const char*>(job.w) + panel * job.w_stride;
  Fetch fetch{w, job.w_stride, 0, 0, 0};
  if (panel + 2 < job.panels) {
    fetch.w = w + 2 * job.w_stride;
  } else if (job.next_w != nullptr) {
    fetch.w = static_cast<const char*>(job.next_w);
    fetch.stride = job.next_stride;
  }
  // Alone: its own weights come from memory.
  if (tiles <= kMostTiles && job.cols * kRowBytes / 2 > kStreamAhead) {
    fetch.own = job.cols - kStreamAhead / (kRowBytes / 2);
  }
  for (long tile = 0; tile < tiles; tile += kMostTiles) {
    const bool two = tile + 1 < tiles;
    const long first = tile_begin(job.tokens, tiles, tile);
    const long second = tile_begin(job.tokens, tiles, tile + 1);
    const long last = two ? tile_begin(job.tokens, tiles, tile + 2) : second;
    const char* x = static_cast<const char*>(job.x);
    float* c = job.c + panel * 16;
    const Block block{x + first * token_bytes,
                      x + second * token_bytes,
                      (second - first) * kRowBytes,
                      (last - second) * kRowBytes,
                      c + first * job.c_stride,
                      c + second * job.c_stride,
                      job.c_stride};
    fetch.first = static_cast<int>(16 * tile / tiles);
    fetch.last = static_cast<int>(16 * (two ? tile + 2 : tile + 1) / tiles);
    if (two) {
      multiply_block<2, panels>(block, w, job.w_stride, job.cols, fetch);
    } else {
      multiply_block<1, panels>(block, w, job.w_stride, job.cols, fetch);
    }
  }
}

void amx_panels(const PanelJob& job) {
  if (job.tokens == 0) return;
  const long tiles = tile_count(kLayout, job.tokens);
  configure((job.tokens + tiles - 1) / tiles);
  for (long panel = 0; panel < job.panels; panel += 2) {
    if (panel + 2 <= job.panels) {
      sweep<2>(job, panel);
    } else {
      sweep<1>(job, panel);
    }
  }
  _tile_release();
}

// On numbers such as weights are: tiles of zeros go through a fifth faster.
void arithmetic_loop(long rounds) {
  alignas(64) unsigned short data[kTileBytes / 2];
  unsigned random = 1;
  for (unsigned short& bits : data) {
    random = random * 1664525u + 1013904223u;
    bits = static_cast<unsigned short>(0x3c00u | ((random >> 16) & 0x81ffu));
  }
  __asm__ volatile("" ::"r"(data) : "memory");
  configure(16);
  _tile_loadd(6, data, kRowBytes);
  _tile_loadd(7, data, kRowBytes);
  for (long round = 0; round < rounds; ++round) {
    _tile_dpbf16ps(0, 7, 6);
    _tile_dpbf16ps(1, 7, 6);
    _tile_dpbf16ps(2, 7, 6);
    _tile_dpbf16ps(3, 7, 6);
  }
  _tile_release();
}

}  // namespace

// Four products of 16 tokens x 32 columns x 16 rows.
extern const Bf16Panels kAmxBf16Panels{{amx_panels, kLayout},
                                       {arithmetic_loop, 4 * 16 * 32 * 16 * 2}};

}  // namespace sluice
