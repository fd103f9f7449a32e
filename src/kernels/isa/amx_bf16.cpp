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
constexpr long kPairBytes = 64;  // of two columns of a panel

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

// Setting up and releasing tiles take 0.2 us, as long as the smallest products: within a session
// that is done where the height changes. The height that this thread's tiles have; 0: none, and
// outside a session -1.
thread_local long session_height = -1;

void begin_session() { session_height = 0; }

void end_session() {
  if (session_height > 0) _tile_release();
  session_height = -1;
}

void configure_for(long height) {
  if (height == session_height) return;
  configure(height);
  if (session_height >= 0) session_height = height;
}

// One or two tiles of tokens.
struct Block {
  const char* x;
  const char* x_second;
  long x_step, x_second_step;  // bytes of a tile's 32 columns
  float* c;
  float* c_second;
  long c_stride;  // floats between tokens
  bool onto;      // on top of what c holds
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

// Weights wanted next, fetched while these are multiplied.
//
// One block of tokens: its own weights come from memory, and are fetched 4 KiB ahead (DRAM latency,
// 100 ns, at a core's share of the bandwidth, and past the page ends at which hardware prefetching
// stops); towards its end, the heads of the next panels.
//
// More blocks: the next panels, spread evenly over all steps of all blocks, in two streams per
// panel of neighbouring lines. Hardware prefetching runs ahead of such streams without holding any
// of the core's 16 fill buffers, which tile loads need; of lines picked from every tile it made
// nothing.
struct Fetch {
  static constexpr long kSteps = 4;                       // ahead
  static constexpr long kLines = kTileBytes / kRowBytes;  // of a tile

  const char* next;
  long next_stride;
  long own;           // steps for which the block alone fetches its own panels; -1: more blocks
  long half;          // bytes between the streams of a panel
  long lines, steps;  // of a stream; of all blocks
  long credit;        // less than a line's worth of steps
  bool nothing;

  template <int panels>
  SLUICE_INLINE void step(const char* w, long w_stride) {
    if (nothing) return;
    if (own < 0) return spread<panels>();
    if (own > 0) {
      --own;
      return tile<panels>(w + kSteps * kTileBytes, w_stride);
    }
    tile<panels>(next, next_stride);
    next += kTileBytes;
  }

 private:
  template <int panels>
  SLUICE_INLINE void tile(const char* from, long stride) {
    for (int line = 0; line < kLines; ++line) {
      for (int p = 0; p < panels; ++p) {
        __builtin_prefetch(from + p * stride + line * kRowBytes, 0, 2);
      }
    }
  }

  template <int panels>
  SLUICE_INLINE void spread() {
    for (credit += lines; credit >= steps; credit -= steps) {
      for (int p = 0; p < panels; ++p) {
        __builtin_prefetch(next + p * next_stride, 0, 2);
        __builtin_prefetch(next + p * next_stride + half, 0, 2);
      }
      next += kRowBytes;
    }
  }
};

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
SLUICE_INLINE void begin_sums(const Block& block) {
  if (block.onto) {
    const long stride = block.c_stride * 4;
    _tile_loadd(0, block.c, stride);
    if constexpr (panels == 2) _tile_loadd(1, block.c + 16, stride);
    if constexpr (tiles == 2) _tile_loadd(2, block.c_second, stride);
    if constexpr (tiles == 2 && panels == 2) _tile_loadd(3, block.c_second + 16, stride);
    return;
  }
  _tile_zero(0);
  if constexpr (panels == 2) _tile_zero(1);
  if constexpr (tiles == 2) _tile_zero(2);
  if constexpr (tiles == 2 && panels == 2) _tile_zero(3);
}

// Sums that are on their way past the caches: a block's wait here while the next one is multiplied,
// and leave row by row between its products. Stored at once they held those up: every line of c was
// fetched from memory first.
struct Leaving {
  static constexpr long kSums = kTileBytes / 4;  // of a tile
  alignas(64) float sums[kMostTiles * 2 * kSums];
  float* c = nullptr;
  float* c_second = nullptr;
  long c_stride = 0;
  long first_rows = 0;  // of the first tile
  long rows = 0;        // in all
  long gone = 0;

  template <int panels>
  SLUICE_INLINE void send_row() {
    const bool second = gone >= first_rows;
    const long row = second ? gone - first_rows : gone;
    float* to = (second ? c_second : c) + row * c_stride;
    const float* from = sums + (second ? 2 * kSums : 0) + row * 16;
    _mm512_stream_ps(to, _mm512_load_ps(from));
    if constexpr (panels == 2) _mm512_stream_ps(to + 16, _mm512_load_ps(from + kSums));
    ++gone;
  }

  template <int panels>
  SLUICE_INLINE void send_rows(long count) {
    for (const long end = gone + count < rows ? gone + count : rows; gone < end;) {
      send_row<panels>();
    }
  }
};

template <int tiles, int panels>
SLUICE_INLINE void keep_sums(const Block& block, Leaving& leaving) {
  leaving.send_rows<panels>(leaving.rows);
  constexpr long kSums = Leaving::kSums;
  _tile_stored(0, leaving.sums, kRowBytes);
  if constexpr (panels == 2) _tile_stored(1, leaving.sums + kSums, kRowBytes);
  if constexpr (tiles == 2) _tile_stored(2, leaving.sums + 2 * kSums, kRowBytes);
  if constexpr (tiles == 2 && panels == 2) {
    _tile_stored(3, leaving.sums + 3 * kSums, kRowBytes);
  }
  // Tile stores are not known to write memory.
  __asm__ volatile("" ::"r"(leaving.sums) : "memory");
  leaving.c = block.c;
  leaving.c_second = block.c_second;
  leaving.c_stride = block.c_stride;
  leaving.first_rows = block.x_step / kRowBytes;
  leaving.rows = leaving.first_rows + (tiles == 2 ? block.x_second_step / kRowBytes : 0);
  leaving.gone = 0;
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

template <int tiles, int panels, bool leaves>
void multiply_block(const Block& block, const char* w, long w_stride, long cols, Fetch& fetch,
                    Leaving& leaving) {
  const char* x = block.x;
  const char* x_second = block.x_second;
  begin_sums<tiles, panels>(block);
  [[maybe_unused]] const long rows_per_step = leaves ? leaving.rows * kTileColumns / cols + 1 : 0;
  long k = 0;
  for (; k + kTileColumns <= cols; k += kTileColumns) {
    fetch.step<panels>(w, w_stride);
    multiply<tiles, panels>(x, x_second, w, w_stride);
    if constexpr (leaves) leaving.send_rows<panels>(rows_per_step);
    x += block.x_step;
    x_second += block.x_second_step;
    w += kTileBytes;
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
  if constexpr (leaves) {
    keep_sums<tiles, panels>(block, leaving);
  } else {
    store_sums<tiles, panels>(block);
  }
}

// Columns [first, first + count) of a job.
struct Columns {
  long first, count;
};

// What a block's last tile, if it is lower than the tiles are set up, would overwrite: the next
// tile's first row. Only sums that are not complete need saving: that tile overwrites it too.
template <int panels>
struct SavedRow {
  float* row;
  __m512 values[panels];

  explicit SavedRow(float* at) : row(at) {
    for (int p = 0; row != nullptr && p < panels; ++p) values[p] = _mm512_loadu_ps(row + p * 16);
  }
  void restore() const {
    for (int p = 0; row != nullptr && p < panels; ++p) _mm512_storeu_ps(row + p * 16, values[p]);
  }
};

// All tokens against one or two panels, two tiles at a time.
template <int panels, bool leaves>
void sweep(const PanelJob& job, const Columns& columns, long panel, Leaving& leaving) {
  const long tiles = tile_count(kLayout, job.tokens);
  const long token_bytes = padded_columns(kLayout, job.cols) * 2;
  const char* all = static_cast<const char*>(job.w) + columns.first * kPairBytes / 2;
  const char* w = all + panel * job.w_stride;
  const long steps = columns.count / kTileColumns;
  const bool parts = columns.count < job.cols;
  const bool last_part = columns.first + columns.count == job.cols;
  Fetch fetch;
  fetch.next = w + panels * job.w_stride;
  fetch.next_stride = job.w_stride;
  fetch.half = columns.count * kPairBytes / 4 / kRowBytes * kRowBytes;
  fetch.lines = fetch.half / kRowBytes + 1;
  if (panel + panels >= job.panels) {
    if (!last_part) {
      fetch.next = all + columns.count * kPairBytes / 2;
    } else if (job.next_w != nullptr) {
      fetch.next = static_cast<const char*>(job.next_w);
      fetch.next_stride = job.next_stride;
    } else {
      fetch.next = w;
      fetch.lines = 0;
    }
  }
  fetch.own = -1;
  fetch.steps = (tiles + kMostTiles - 1) / kMostTiles * steps;
  fetch.credit = 0;
  fetch.nothing = job.w_near;
  if (tiles <= kMostTiles) fetch.own = steps > Fetch::kSteps ? steps - Fetch::kSteps : 0;
  for (long tile = 0; tile < tiles; tile += kMostTiles) {
    const bool two = tile + 1 < tiles;
    const long first = tile_begin(job.tokens, tiles, tile);
    const long second = tile_begin(job.tokens, tiles, tile + 1);
    const long last = two ? tile_begin(job.tokens, tiles, tile + 2) : second;
    const char* x = static_cast<const char*>(job.x);
    float* c = job.c + panel * 16;
    const long before = columns.first / kTileColumns * kRowBytes;  // of each token
    const Block block{x + first * token_bytes + (second - first) * before,
                      x + second * token_bytes + (last - second) * before,
                      (second - first) * kRowBytes,
                      (last - second) * kRowBytes,
                      c + first * job.c_stride,
                      c + second * job.c_stride,
                      job.c_stride,
                      columns.first > 0};
    const SavedRow<panels> saved(parts && last < job.tokens ? c + last * job.c_stride : nullptr);
    if (two) {
      multiply_block<2, panels, leaves>(block, w, job.w_stride, columns.count, fetch, leaving);
    } else {
      multiply_block<1, panels, leaves>(block, w, job.w_stride, columns.count, fetch, leaving);
    }
    saved.restore();
  }
}

template <bool leaves>
void all_panels(const PanelJob& job, const Columns& columns) {
  Leaving leaving;
  long panel = 0;
  for (; panel + 2 <= job.panels; panel += 2) sweep<2, leaves>(job, columns, panel, leaving);
  if constexpr (leaves) leaving.send_rows<2>(leaving.rows);
  if (panel < job.panels) sweep<1, leaves>(job, columns, panel, leaving);
  if constexpr (leaves) {
    leaving.send_rows<1>(leaving.rows);
    _mm_sfence();  // whoever reads c was told by a plain store, which these may otherwise follow
  }
}

// Columns of one part of a job: so many that x of all tokens stays in the second cache (half of
// 2 MiB) while panels stream past it. Sums rest in c in between, the same chain of operations.
long part_columns(const PanelJob& job) {
  constexpr long kCached = 1 << 20;
  const long x_bytes = job.tokens * job.cols * 2;
  if (job.tokens <= kMostTiles * kLayout.tile || x_bytes <= kCached * 3 / 2) return job.cols;
  const long parts = (x_bytes + kCached - 1) / kCached;
  return ((job.cols + parts - 1) / parts + kTileColumns - 1) / kTileColumns * kTileColumns;
}

void amx_panels(const PanelJob& job) {
  if (job.tokens == 0) return;
  const long tiles = tile_count(kLayout, job.tokens);
  configure_for((job.tokens + tiles - 1) / tiles);
  const long part = part_columns(job);
  // Whole lines, or they cannot go past the caches.
  const bool lines = reinterpret_cast<unsigned long>(job.c) % 64 == 0 && job.c_stride % 16 == 0;
  if (job.c_streams && lines && part >= job.cols) {
    all_panels<true>(job, {0, job.cols});
  } else {
    for (long first = 0; first < job.cols; first += part) {
      const long left = job.cols - first;
      all_panels<false>(job, {first, left < part ? left : part});
    }
  }
  if (session_height < 0) _tile_release();
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
extern const Bf16Panels kAmxBf16Panels{{amx_panels, kLayout, begin_session, end_session},
                                       {arithmetic_loop, 4 * 16 * 32 * 16 * 2}};

}  // namespace sluice
