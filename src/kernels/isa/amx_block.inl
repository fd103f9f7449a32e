// The product of one or two tiles of tokens with one or two panels, over all columns.
#include "kernels/isa/amx_fetch.inl"
#include "kernels/isa/amx_sums.inl"

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

// What comes round soon enough to stay in the first cache (48 KiB). Tiles of all else are loaded by
// an instruction that leaves that cache as it is: loaded plainly they push out, before it comes
// round, what could have stayed, and all tiles come from the second cache.
enum class Kept {
  x,            // one block of tokens, multiplied by panel after panel
  both_panels,  // multiplied by block after block
  first_panel,  // of two that are too long together; each of its tiles is loaded twice in a row
};

template <bool kept>
SLUICE_INLINE void load_x(const char* x) {
  if constexpr (kept) {
    _tile_loadd(7, x, kRowBytes);
  } else {
    _tile_stream_loadd(7, x, kRowBytes);
  }
}

template <bool kept>
SLUICE_INLINE void load_w(const char* w) {
  if constexpr (kept) {
    _tile_loadd(6, w, kRowBytes);
  } else {
    _tile_stream_loadd(6, w, kRowBytes);
  }
}

template <int tiles, int panels, Kept kept>
SLUICE_INLINE void multiply(const char* x, const char* x_second, const char* w, long w_stride) {
  constexpr bool keeps_x = kept == Kept::x;
  load_x<keeps_x>(x);
  load_w<true>(w);
  _tile_dpbf16ps(0, 7, 6);
  if constexpr (panels == 2) {
    load_w<kept != Kept::first_panel>(w + w_stride);
    _tile_dpbf16ps(1, 7, 6);
  }
  if constexpr (tiles == 2) {
    load_x<keeps_x>(x_second);
    if constexpr (panels == 2) {
      _tile_dpbf16ps(3, 7, 6);
      load_w<true>(w);
    }
    _tile_dpbf16ps(2, 7, 6);
  }
}

template <int tiles, int panels, bool leaves, Kept kept>
void multiply_block(const Block& block, const char* w, long w_stride, long cols, Fetch& fetch,
                    Leaving& leaving) {
  const char* x = block.x;
  const char* x_second = block.x_second;
  begin_sums<tiles, panels>(block);
  [[maybe_unused]] const long rows_per_step = leaves ? leaving.rows * kTileColumns / cols + 1 : 0;
  long k = 0;
  for (; k + kTileColumns <= cols; k += kTileColumns) {
    fetch.step<panels>(w, w_stride);
    multiply<tiles, panels, kept>(x, x_second, w, w_stride);
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
    multiply<tiles, panels, kept>(tail.x[0], tail.x[1], tail.w[0], kTileBytes);
  }
  if constexpr (leaves) {
    keep_sums<tiles, panels>(block, leaving);
  } else {
    store_sums<tiles, panels>(block);
  }
}
