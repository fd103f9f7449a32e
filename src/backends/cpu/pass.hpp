// One forward pass over one chunk of tokens: what the workers of the schedule do.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

#include <sluice/plan.hpp>
#include <sluice/spec.hpp>
#include <sluice/tensor.hpp>

#include "backends/cpu/expert_bank.hpp"
#include "backends/cpu/kernel_choice.hpp"
#include "backends/cpu/schedule.hpp"

namespace sluice {

// Rows in the workspace; strides in bytes, whole cache lines and an odd number of them, so that
// rows do not fall on the same cache sets.
struct RowBuffer {
  std::span<std::byte> memory;
  std::int64_t stride = 0;
  std::byte* row(std::int64_t index) const { return memory.data() + index * stride; }
};

// How much of each block is done. A line each: workers count at the same time.
struct alignas(64) BlockProgress {
  std::atomic<std::int64_t> gathered{0};
  std::atomic<std::int64_t> activated{0};
  std::atomic<std::int64_t> down{0};
};

struct alignas(64) PassProgress {
  std::atomic<std::int64_t> next_item{0};
  std::atomic<std::int64_t> rounded{0};
  std::atomic<std::int64_t> down_done{0};
};

// Blocks whose x and activations have places of their own. Where all blocks' would leave the caches
// before they are read, so many places are used in turn: one that is written, two that are
// multiplied, and one to spare, so that no worker waits for its place.
inline constexpr std::int64_t kPlaces = 4;

// Where x and activations stand between the products. More tokens may take a later one.
enum class PassLayout : std::uint8_t {
  direct,   // each of its own
  in_turn,  // in kPlaces places, of blocks in turn
  whole,    // in a place of each worker, which takes row tiles through all stages
};

// The products' rows are those of the plan, then one per token for the shared block.
struct PassBuffers {
  RowBuffer rounded;                  // [tokens, H] bf16, where hidden states may be rounded first
  bool whole = false;                 // [workers, kMostTileRows] rows of x and act, for all blocks
  bool in_turn = false;               // kPlaces places of [tokens] rows, below instead of [rows]
  RowBuffer x;                        // [rows + tokens, H], row tiles in the kernel's layout
  RowBuffer act;                      // [rows, I] likewise
  RowBuffer shared_act;               // [tokens, shared width] likewise
  RowBuffer y;                        // [rows + tokens, H rounded up to whole panels] f32
  std::span<BlockWork> work;          // [blocks]; the pass uses as many as have rows
  std::span<BlockProgress> progress;  // [blocks], likewise
  std::span<PassProgress> pass;       // [1]
  std::span<Segment> segments;        // [max_segments(blocks)]
  RowBuffer tile;                     // [workers, kMostTileRows * kTilePanels * 16] f32
};

// Everything a pass reads, and where it writes. Views only.
struct Pass {
  const MoeSpec& spec;
  const CpuKernel& kernel;
  const ExpertBank& bank;
  std::span<const float> shared_gate;  // [H] or empty
  TensorView hidden;                   // [tokens, H]
  MutableTensorView output;            // [tokens, H]
  ExpertPlan plan;
  PassBuffers buffers;
  std::int64_t gate_up_unit = 1;  // panels of GEMM 1 that belong together: 2 with a gate
  bool rounds = false;            // hidden states go through buffers.rounded
  std::size_t works = 0;          // blocks with rows
  Schedule schedule{};

  // Fills work and schedule from the plan and starts all counters.
  void prepare();
  // Products of the whole pass: whether it is worth waking other threads.
  std::int64_t products() const;
  // Takes items until none is left. Any number of workers, in any order.
  void work(int worker) const;

 private:
  struct Rows {
    std::int64_t first, count;
  };
  bool is_shared(const BlockWork& work) const;
  // Until the work before in this one's place is done with its x, or its activations.
  void wait_for_place(const BlockWork& work, bool activations) const;
  void add_work(std::int64_t block, std::int64_t first_row, std::int64_t rows);
  Rows rows_of_tile(const Segment& segment, std::int64_t tile) const;
  const std::byte* hidden_row(std::int64_t token) const;

  // Panels that an item multiplies first; null where it multiplies nothing.
  struct Weights {
    const std::byte* panels = nullptr;
    std::int64_t stride = 0;
  };
  struct Item {
    const Segment* segment;
    std::int64_t row_tile, panel_tile;
  };
  Item item_at(std::int64_t index, std::size_t& segment) const;
  Weights weights_of(const Item& item) const;
  const ExpertBlock& block_of(const BlockWork& work) const;

  void run(const Item& item, const Weights& next, int worker) const;
  // Where a row tile's x and activations lie.
  struct Place {
    std::byte* x;
    std::byte* act;
  };
  Place place_of(const BlockWork& work, const Rows& rows) const;
  Weights gate_up_weights(const BlockWork& work, std::int64_t panel_tile) const;
  Weights down_weights(const BlockWork& work, std::int64_t panel_tile) const;

  void round(std::int64_t tile) const;
  void wait_for_rounded() const;
  void gather(const Item& item) const;
  void gate_up(const Item& item, const Weights& next, int worker) const;
  void down(const Item& item, const Weights& next) const;
  void whole(const Item& item, const Weights& next, int worker) const;

  // Parts of these: kernel tiles [first, last) of a row tile; a tile of panels.
  void gather_tiles(const BlockWork& work, const Rows& rows, std::int64_t first, std::int64_t last,
                    std::byte* x) const;
  void gate_up_panels(const BlockWork& work, const Rows& rows, std::int64_t panel_tile,
                      const Place& place, const Weights& next, int worker) const;
  void activate(const BlockWork& work, const Rows& rows, std::int64_t first_panel,
                std::int64_t panels, const float* c, std::byte* act) const;
  void down_panels(const BlockWork& work, const Rows& rows, std::int64_t panel_tile,
                   const std::byte* act, const Weights& next) const;
  void combine(std::int64_t tile) const;
  void combine_token(std::int64_t token) const;
  float shared_scale(std::int64_t token) const;
};

}  // namespace sluice
