// What a pass does with a row tile of one block: gather, first product and activation, second
// product.
#include <algorithm>

#include "backends/cpu/pass.hpp"

namespace sluice {
namespace {

// swiglu's constants belong to routed experts; shared ones have them neutral.
ActivationJob activation_job(const ExpertSpec& experts, bool shared) {
  ActivationJob job{};
  job.activation = static_cast<ActivationCode>(experts.activation);
  job.alpha = shared ? 1.0f : static_cast<float>(experts.swiglu_alpha);
  job.beta = shared ? 0.0f : static_cast<float>(experts.swiglu_beta);
  job.limit = shared ? __builtin_inff() : static_cast<float>(experts.swiglu_limit);
  return job;
}

static_assert(static_cast<int>(ActivationCode::identity) ==
                      static_cast<int>(Activation::identity) &&
                  static_cast<int>(ActivationCode::relu2) == static_cast<int>(Activation::relu2),
              "ActivationCode mirrors Activation");

}  // namespace

void Pass::gather_tiles(const BlockWork& work, const Rows& rows, std::int64_t first,
                        std::int64_t last, std::byte* x) const {
  const bool shared = is_shared(work);
  const bool weighted = spec.router.apply_router_weight_on_input && !shared;
  const std::int64_t tiles = tile_count(kernel.panels.layout, rows.count);
  PackJob job{};
  job.cols = spec.experts.hidden_size;
  job.group = kernel.panels.layout.group;
  job.from_format = rounds ? kernel.stage : row_format(hidden.dtype);
  job.to_format = kernel.stage;
  // Values that are bf16 already need no rounding.
  if (job.from_format == RowFormat::bf16 && job.to_format == RowFormat::f32_bf16 && !weighted) {
    job.to_format = RowFormat::f32;
  }
  for (std::int64_t tile = first; tile < last; ++tile) {
    const void* sources[kMostTileTokens];
    const std::int64_t begin = tile_begin(rows.count, tiles, tile);
    const std::int64_t row = rows.first + begin;
    job.tokens = tile_begin(rows.count, tiles, tile + 1) - begin;
    for (std::int64_t r = 0; r < job.tokens; ++r) {
      const std::int64_t token =
          shared ? row + r : plan.row_token[static_cast<std::size_t>(work.first_row + row + r)];
      sources[r] = rounds ? buffers.rounded.row(token) : hidden_row(token);
    }
    job.rows = sources;
    job.scales =
        weighted ? &plan.row_weight[static_cast<std::size_t>(work.first_row + row)] : nullptr;
    job.to = x + begin * buffers.x.stride;
    kernel.isa->pack(job);
  }
}

void Pass::gate_up_panels(const BlockWork& work, const Rows& rows, std::int64_t panel_tile,
                          const Place& place, const Weights& next, int worker) const {
  const PackedView& w = block_of(work).gate_up;
  const std::int64_t panel = panel_tile * work.gate_up.tile_panels;
  const std::int64_t panels = std::min(work.gate_up.tile_panels, w.panels() - panel);
  auto* c = reinterpret_cast<float*>(buffers.tile.row(worker));
  const Weights own = gate_up_weights(work, panel_tile);
  kernel.panels.run({place.x, own.panels, own.stride, c, panels * kPanelRows, rows.count, panels,
                     w.cols, next.panels, next.stride, false});
  activate(work, rows, panel, panels, c, place.act);
}

// Sums of GEMM 1 into the layout of GEMM 2's input.
void Pass::activate(const BlockWork& work, const Rows& rows, std::int64_t first_panel,
                    std::int64_t panels, const float* c, std::byte* act) const {
  const ExpertBlock& block = block_of(work);
  const XLayout& layout = kernel.panels.layout;
  const std::int64_t c_stride = panels * kPanelRows;
  ActivationJob job = activation_job(spec.experts, is_shared(work));
  job.first = first_panel * kPanelRows / gate_up_unit;
  job.count = std::min(c_stride / gate_up_unit, block.width - job.first);
  job.bias =
      block.gate_up_bias == nullptr ? nullptr : block.gate_up_bias + first_panel * kPanelRows;
  job.out_format = kernel.stage;
  job.group = layout.group;
  job.c_stride = c_stride;
  const std::int64_t token_bytes = padded_columns(layout, block.width) * kernel.stage_bytes;
  const std::int64_t tiles = tile_count(layout, rows.count);
  for (std::int64_t tile = 0; tile < tiles; ++tile) {
    const std::int64_t first = tile_begin(rows.count, tiles, tile);
    const std::int64_t tokens = tile_begin(rows.count, tiles, tile + 1) - first;
    job.tokens = tokens;
    job.group_stride = tokens * layout.group * kernel.stage_bytes;
    job.c = c + first * c_stride;
    job.out = act + first * token_bytes;
    kernel.isa->activate(job);
  }
}

void Pass::down_panels(const BlockWork& work, const Rows& rows, std::int64_t panel_tile,
                       const std::byte* act, const Weights& next) const {
  const PackedView& w = block_of(work).down;
  const std::int64_t panel = panel_tile * work.down.tile_panels;
  const Weights own = down_weights(work, panel_tile);
  auto* y = reinterpret_cast<float*>(buffers.y.row(work.first_row + rows.first));
  kernel.panels.run(
      {act, own.panels, own.stride, y + panel * kPanelRows,
       buffers.y.stride / static_cast<std::int64_t>(sizeof(float)), rows.count,
       std::min(work.down.tile_panels, w.panels() - panel), w.cols, next.panels, next.stride,
       is_streamed(static_cast<std::int64_t>(buffers.y.memory.size() / sizeof(float)))});
}

void Pass::whole(const Item& item, const Weights& next, int worker) const {
  const BlockWork& work = buffers.work[static_cast<std::size_t>(item.segment->work)];
  wait_for_rounded();
  const Rows rows = rows_of_tile(*item.segment, item.row_tile);
  const std::int64_t own = worker * kMostTileRows;
  const Place place{buffers.x.row(own), buffers.act.row(own)};
  gather_tiles(work, rows, 0, tile_count(kernel.panels.layout, rows.count), place.x);
  const std::int64_t tiles = work.gate_up.panel_tiles;
  for (std::int64_t tile = 0; tile < tiles; ++tile) {
    const Weights after =
        tile + 1 < tiles ? gate_up_weights(work, tile + 1) : down_weights(work, 0);
    gate_up_panels(work, rows, tile, place, after, worker);
  }
  for (std::int64_t tile = 0; tile < work.down.panel_tiles; ++tile) {
    const Weights after = tile + 1 < work.down.panel_tiles ? down_weights(work, tile + 1) : next;
    down_panels(work, rows, tile, place.act, after);
  }
  buffers.pass[0].down_done.fetch_add(1, std::memory_order_release);
}

}  // namespace sluice
