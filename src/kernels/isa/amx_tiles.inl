// AMX's tile registers: how they are set up, and for how long. Included inside an anonymous
// namespace.
#pragma once

constexpr long kTileColumns = 32;
constexpr long kTileBytes = 1024;
constexpr long kRowBytes = 64;
constexpr long kPairBytes = 64;  // of two columns of a panel

constexpr XLayout kLayout{16, kTileColumns};
constexpr long kMostTiles = 2;

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
