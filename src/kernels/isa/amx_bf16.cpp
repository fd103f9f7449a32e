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

// Weights wanted next, fetched while these are multiplied: lines [first, last) of each tile `ahead`
// bytes further on in each panel.
struct Prefetch {
  long ahead;
  int first, last;
};

template <int panels>
inline __attribute__((always_inline)) void prefetch(const Prefetch& next, const char* w,
                                                    long w_stride) {
  for (int line = next.first; line < next.last; ++line) {
    for (int p = 0; p < panels; ++p) {
      __builtin_prefetch(w + p * w_stride + next.ahead + line * kRowBytes, 0, 2);
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

// A block of tokens in two tiles, the second possibly empty, against one or two panels.
struct Block {
  long token, first_tokens, second_tokens;
};

template <bool second, int panels>
void multiply_block(const PanelJob& job, const Block& block, long panel, const Prefetch& next) {
  const char* x = static_cast<const char*>(job.x) + block.token * job.x_stride;
  const char* w = static_cast<const char*>(job.w) + panel * job.w_stride;
  _tile_zero(0);
  if constexpr (panels == 2) _tile_zero(1);
  if constexpr (second) _tile_zero(2);
  if constexpr (second && panels == 2) _tile_zero(3);
  long k = 0;
  for (; k + kTileColumns <= job.cols; k += kTileColumns) {
    prefetch<panels>(next, w, job.w_stride);
    multiply<second, panels>(x, job.x_stride, block.first_tokens, w, job.w_stride);
    x += kRowBytes;
    w += kTileBytes;
  }
  if (k < job.cols) {
    Tail tail;
    tail.fill(x, job.x_stride, block.first_tokens + block.second_tokens, w, job.w_stride, panels,
              job.cols - k);
    // Tile loads are not known to read memory: without this the stores to `tail` may be dropped.
    __asm__ volatile("" ::"r"(&tail) : "memory");
    multiply<second, panels>(tail.x, kRowBytes, block.first_tokens, tail.w[0], kTileBytes);
  }
  float* c = job.c + block.token * job.c_stride + panel * 16;
  float* c_second = c + block.first_tokens * job.c_stride;
  const long c_bytes = job.c_stride * 4;
  _tile_stored(0, c, c_bytes);
  if constexpr (panels == 2) _tile_stored(1, c + 16, c_bytes);
  if constexpr (second) {
    _tile_stored(2, c_second, c_bytes);
    if constexpr (panels == 2) _tile_stored(3, c_second + 16, c_bytes);
  }
}

void run_block(const PanelJob& job, const Block& block, long panel, const Prefetch& next) {
  const bool pair = panel + 2 <= job.panels;
  if (block.second_tokens > 0) {
    return pair ? multiply_block<true, 2>(job, block, panel, next)
                : multiply_block<true, 1>(job, block, panel, next);
  }
  return pair ? multiply_block<false, 2>(job, block, panel, next)
              : multiply_block<false, 1>(job, block, panel, next);
}

// One block of tokens streams its weights: 4 KiB ahead per panel covers the latency of memory
// (100 ns) at a core's share of its bandwidth, and reaches over the page ends at which hardware
// prefetching stops. Several blocks read the same two panels; each fetches its part of the next
// two.
Prefetch next_weights(const PanelJob& job, long block, long blocks) {
  constexpr long kStreamAhead = 4096;
  if (blocks == 1) return {kStreamAhead, 0, 16};
  return {2 * job.w_stride, static_cast<int>(16 * block / blocks),
          static_cast<int>(16 * (block + 1) / blocks)};
}

// Blocks of at most 32 tokens, the first ones one token taller where they cannot be equal, so that
// tiles change shape at most once per sweep. Cutting the columns too, so that weights stay in L1,
// costs more in reloaded sums than it saves.
void amx_panels(const PanelJob& job) {
  if (job.tokens == 0) return;
  const long blocks = (job.tokens + 31) / 32;
  const long height = job.tokens / blocks;
  const long taller = job.tokens % blocks;
  long configured = 0;
  for (long panel = 0; panel < job.panels; panel += 2) {
    long token = 0;
    for (long b = 0; b < blocks; ++b) {
      const long tokens = height + (b < taller ? 1 : 0);
      const long first = tokens > 16 ? (tokens + 1) / 2 : tokens;
      if (tokens != configured) configure(first, tokens - first);
      configured = tokens;
      run_block(job, {token, first, tokens - first}, panel, next_weights(job, b, blocks));
      token += tokens;
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
  configure(16, 16);
  _tile_loadd(4, data, kRowBytes);
  _tile_loadd(5, data, kRowBytes);
  _tile_loadd(6, data, kRowBytes);
  _tile_loadd(7, data, kRowBytes);
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
