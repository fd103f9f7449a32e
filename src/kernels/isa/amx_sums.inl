// Where AMX's sums begin and where they go: into c at once, or past the caches a little later.
#include "kernels/isa/amx_tiles.inl"

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
