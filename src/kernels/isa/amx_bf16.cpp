// AMX: tdpbf16ps multiplies a tile of 16 tokens x 32 columns by one of 32 columns x 16 rows, which
// is 1024 contiguous bytes of a panel. Compiled with its flags: intrinsics and internal linkage
// only.
#include <immintrin.h>

#include "kernels/isa/isa_files.hpp"

namespace sluice {
namespace {

#define SLUICE_INLINE inline __attribute__((always_inline))
#include "kernels/isa/amx_block.inl"

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
template <int panels, bool leaves, Kept kept>
void sweep_keeping(const PanelJob& job, const Columns& columns, long panel, Leaving& leaving) {
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
      multiply_block<2, panels, leaves, kept>(block, w, job.w_stride, columns.count, fetch,
                                              leaving);
    } else {
      multiply_block<1, panels, leaves, kept>(block, w, job.w_stride, columns.count, fetch,
                                              leaving);
    }
    saved.restore();
  }
}

template <int panels, bool leaves>
void sweep(const PanelJob& job, const Columns& columns, long panel, Leaving& leaving) {
  constexpr long kKeptBytes = 40 << 10;  // of 48: x and sums pass through the rest
  if (tile_count(kLayout, job.tokens) <= kMostTiles) {
    sweep_keeping<panels, leaves, Kept::x>(job, columns, panel, leaving);
  } else if (panels * columns.count * kPairBytes / 2 <= kKeptBytes) {
    sweep_keeping<panels, leaves, Kept::both_panels>(job, columns, panel, leaving);
  } else {
    sweep_keeping<panels, leaves, Kept::first_panel>(job, columns, panel, leaving);
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
