// The order of work of one forward pass, as one list of items that any number of workers take from
// the front.
//
// Items depend only on items before them. A worker that waits for one therefore waits for an item
// that another running worker holds, or for nothing: there are no barriers between stages, and an
// executor that runs its workers one after another works as well.
//
//   gather(e1) | gate_up(e0) | gather(e2) | gate_up(e1) | down(e0) | … | combine
//
// Expert e's second product comes one expert after its first, so that its inputs are nearly always
// complete when it is taken, and still in cache.
//
// With many rows per expert a worker takes a row tile through both products by itself:
//
//   whole(e0) | whole(e1) | … | combine
//
// Its x and activations then stay in its own second cache: shared, every line of them was fetched
// from the other workers' caches, to be written as to be read.
#pragma once

#include <cstdint>
#include <span>

#include "base/parts.hpp"
#include "kernels/packed_matrix.hpp"

namespace sluice {

enum class Stage : std::uint8_t {
  round,    // hidden states to what kernels multiply, once for all experts that gather them
  gather,   // rows of hidden states into the expert's order, packed for the kernel
  gate_up,  // first product and activation
  down,     // second product
  whole,    // the three for one row tile
  combine   // weighted sum over slots, shared experts, output dtype
};

// Items [first, first + row_tiles * panel_tiles) of one stage of one block of work; panels are the
// outer loop, so that neighbours in time read the same weights.
struct Segment {
  std::int64_t first = 0;
  std::int64_t row_tiles = 0;
  std::int64_t panel_tiles = 0;
  std::int64_t work = 0;  // index into the list of BlockWork
  Stage stage = Stage::gather;
  std::int64_t items() const { return row_tiles * panel_tiles; }
};

// How a product [rows] x [panels] is cut.
struct Tiling {
  std::int64_t row_tiles;    // of nearly equal height, at most kMostTileRows
  std::int64_t tile_panels;  // of each tile but the last
  std::int64_t panel_tiles;
};

// Most rows of a tile: x of one stays in a server core's L2 while weights stream past it. Whole
// tiles of AMX (32).
inline constexpr std::int64_t kMostTileRows = 256;
std::int64_t tile_rows(std::int64_t row_bytes);
inline constexpr std::int64_t kTilePanels = 8;
inline constexpr std::int64_t kGatherRows = 32;  // of a row tile, at most
inline constexpr std::int64_t kCombineTokens = 4;
inline constexpr std::int64_t kRoundTokens = 32;

Tiling tile_product(std::int64_t rows, std::int64_t row_tiles, const PackedView& weights,
                    std::int64_t unit);

// One block that has rows in this pass.
struct BlockWork {
  std::int64_t block = 0;      // of the bank
  std::int64_t first_row = 0;  // of the pass's rows
  std::int64_t first_x = 0;    // where in the pass's x it lies
  std::int64_t first_act = 0;  // likewise
  std::int64_t before = -1;    // the work that had the same place, or -1
  std::int64_t rows = 0;       // at least 1
  Tiling gate_up{}, down{};
  std::int64_t gather_parts = 0;   // of each row tile
  std::int64_t gather_items = 0;   // what its first product waits for
  std::int64_t gate_up_items = 0;  // what its second product waits for
  std::int64_t down_items = 0;     // what the next work in its place waits for
};

struct Schedule {
  std::span<Segment> segments;
  std::int64_t items = 0;        // of all segments
  std::int64_t round_items = 0;  // what gather waits for
  std::int64_t down_items = 0;   // what combine waits for
};

// Cuts both products of `work`, whose block and rows are set, into the same tiles of at most
// `most_rows` rows. Panels of GEMM 1 come in multiples of `gate_up_unit`: 2 where gate and up
// alternate.
void tile_block(const PackedView& gate_up, const PackedView& down, std::int64_t gate_up_unit,
                std::int64_t most_rows, BlockWork& work);

// Most segments that so many blocks can need.
std::int64_t max_segments(std::int64_t blocks);

struct Stages {
  bool rounds = false;  // begin with that stage
  bool whole = false;   // instead of three stages per block
};

// Fills the front of `segments`, which is max_segments(work.size()) long at least.
Schedule build_schedule(std::span<const BlockWork> work, std::int64_t tokens, const Stages& stages,
                        std::span<Segment> segments);

}  // namespace sluice
