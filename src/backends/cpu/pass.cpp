#include "backends/cpu/pass.hpp"

#include <sched.h>

#include <algorithm>
#include <new>

#include "base/element.hpp"
#include "kernels/panel_session.hpp"

namespace sluice {
namespace {

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Whoever holds the missing items is running or has been pushed off its core: let it back on.
void wait_for(const std::atomic<std::int64_t>& counter, std::int64_t target) {
  constexpr int kSpins = 4096;
  for (int spins = 0; counter.load(std::memory_order_acquire) < target; ++spins) {
    pause_briefly();
    if (spins >= kSpins) sched_yield();
  }
}

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

bool Pass::is_shared(const BlockWork& work) const {
  return bank.has_shared() && work.block + 1 == static_cast<std::int64_t>(bank.blocks().size());
}

RowBuffer Pass::activations(const BlockWork& work) const {
  if (is_shared(work)) return buffers.shared_act;
  RowBuffer rows = buffers.act;
  rows.memory = rows.memory.subspan(static_cast<std::size_t>(work.first_act * rows.stride));
  return rows;
}

const std::byte* Pass::hidden_row(std::int64_t token) const {
  return static_cast<const std::byte*>(hidden.data) +
         token * hidden.shape[1] * bits(hidden.dtype) / 8;
}

void Pass::add_work(std::int64_t block, std::int64_t first_row, std::int64_t rows) {
  const ExpertBlock& weights = bank.blocks()[static_cast<std::size_t>(block)];
  BlockWork work;
  work.block = block;
  work.first_row = first_row;
  work.first_x = first_row;
  work.first_act = first_row;
  work.rows = rows;
  if (buffers.in_turn) {
    const auto index = static_cast<std::int64_t>(works);
    work.first_x = index % kPlaces * plan.tokens;
    work.first_act = work.first_x;
    work.before = index - kPlaces;
  }
  tile_block(weights.gate_up, weights.down, gate_up_unit, tile_rows(buffers.x.stride), work);
  buffers.work[works] = work;
  new (&buffers.progress[works]) BlockProgress;
  ++works;
}

void Pass::prepare() {
  for (std::size_t e = 0; e + 1 < plan.expert_offsets.size(); ++e) {
    const std::int64_t first = plan.expert_offsets[e];
    const std::int64_t rows = plan.expert_offsets[e + 1] - first;
    if (rows > 0) add_work(static_cast<std::int64_t>(e), first, rows);
  }
  if (bank.has_shared()) {
    add_work(static_cast<std::int64_t>(bank.blocks().size()) - 1, plan.rows(), plan.tokens);
  }
  new (buffers.pass.data()) PassProgress;
  schedule = build_schedule(buffers.work.first(works), plan.tokens, buffers.segments);
}

std::int64_t Pass::products() const {
  std::int64_t total = 0;
  for (const BlockWork& work : buffers.work.first(works)) {
    const ExpertBlock& block = bank.blocks()[static_cast<std::size_t>(work.block)];
    total +=
        work.rows * (block.gate_up.rows * block.gate_up.cols + block.down.rows * block.down.cols);
  }
  return total;
}

// A worker claims an item ahead, so that it can fetch the weights of the next one while it finishes
// this one. Waiting stays safe: of the items that are not finished, the first is being run, or its
// holder runs an earlier one.
void Pass::work(int worker) const {
  const PanelSession session(kernel.panels);
  std::atomic<std::int64_t>& next_item = buffers.pass[0].next_item;
  std::size_t segment = 0;
  std::int64_t claimed = next_item.fetch_add(1, std::memory_order_relaxed);
  if (claimed >= schedule.items) return;
  Item item = item_at(claimed, segment);
  for (;;) {
    claimed = next_item.fetch_add(1, std::memory_order_relaxed);
    if (claimed >= schedule.items) return run(item, {}, worker);
    const Item next = item_at(claimed, segment);
    run(item, weights_of(next), worker);
    item = next;
  }
}

Pass::Item Pass::item_at(std::int64_t index, std::size_t& segment) const {
  while (index >= schedule.segments[segment].first + schedule.segments[segment].items()) ++segment;
  const Segment& found = schedule.segments[segment];
  const std::int64_t within = index - found.first;
  return {&found, within % found.row_tiles, within / found.row_tiles};
}

const ExpertBlock& Pass::block_of(const Item& item) const {
  const BlockWork& work = buffers.work[static_cast<std::size_t>(item.segment->work)];
  return bank.blocks()[static_cast<std::size_t>(work.block)];
}

Pass::Weights Pass::weights_of(const Item& item) const {
  const Stage stage = item.segment->stage;
  if (stage != Stage::gate_up && stage != Stage::down) return {};
  const BlockWork& work = buffers.work[static_cast<std::size_t>(item.segment->work)];
  const PackedView& w = stage == Stage::gate_up ? block_of(item).gate_up : block_of(item).down;
  const Tiling& tiling = stage == Stage::gate_up ? work.gate_up : work.down;
  return {w.data + item.panel_tile * tiling.tile_panels * w.panel_stride(), w.panel_stride()};
}

void Pass::run(const Item& item, const Weights& next, int worker) const {
  switch (item.segment->stage) {
    case Stage::gather:
      return gather(item);
    case Stage::gate_up:
      return gate_up(item, next, worker);
    case Stage::down:
      return down(item, next);
    case Stage::combine:
      return combine(item.row_tile);
  }
}

Pass::Rows Pass::rows_of_tile(const Segment& segment, std::int64_t tile) const {
  const std::int64_t rows = buffers.work[static_cast<std::size_t>(segment.work)].rows;
  const std::int64_t begin = part_begin(rows, segment.row_tiles, tile);
  return {begin, part_begin(rows, segment.row_tiles, tile + 1) - begin};
}

void Pass::wait_for_place(const BlockWork& work, bool activations) const {
  if (work.before < 0) return;
  const auto before = static_cast<std::size_t>(work.before);
  const BlockWork& other = buffers.work[before];
  if (activations) {
    wait_for(buffers.progress[before].down, other.down_items);
  } else {
    wait_for(buffers.progress[before].activated, other.gate_up_items);
  }
}

// Its part of the tiles that the kernel cuts the row tile into.
void Pass::gather(const Item& item) const {
  const auto index = static_cast<std::size_t>(item.segment->work);
  const BlockWork& work = buffers.work[index];
  wait_for_place(work, false);
  const bool shared = is_shared(work);
  const bool weighted = spec.router.apply_router_weight_on_input && !shared;
  const Rows rows = rows_of_tile(*item.segment, item.row_tile);
  const std::int64_t tiles = tile_count(kernel.panels.layout, rows.count);
  const std::int64_t last = part_begin(tiles, work.gather_parts, item.panel_tile + 1);
  PackJob job{};
  job.cols = spec.experts.hidden_size;
  job.group = kernel.panels.layout.group;
  job.from_format = row_format(hidden.dtype);
  job.to_format = kernel.stage;
  // Values that are bf16 already need no rounding.
  if (job.from_format == RowFormat::bf16 && job.to_format == RowFormat::f32_bf16 && !weighted) {
    job.to_format = RowFormat::f32;
  }
  for (std::int64_t tile = part_begin(tiles, work.gather_parts, item.panel_tile); tile < last;
       ++tile) {
    const void* sources[kMostTileTokens];
    const std::int64_t first = rows.first + tile_begin(rows.count, tiles, tile);
    job.tokens = rows.first + tile_begin(rows.count, tiles, tile + 1) - first;
    for (std::int64_t r = 0; r < job.tokens; ++r) {
      sources[r] =
          hidden_row(shared ? first + r
                            : plan.row_token[static_cast<std::size_t>(work.first_row + first + r)]);
    }
    job.rows = sources;
    job.scales =
        weighted ? &plan.row_weight[static_cast<std::size_t>(work.first_row + first)] : nullptr;
    job.to = buffers.x.row(work.first_x + first);
    kernel.isa->pack(job);
  }
  buffers.progress[index].gathered.fetch_add(1, std::memory_order_release);
}

void Pass::gate_up(const Item& item, const Weights& next, int worker) const {
  const auto index = static_cast<std::size_t>(item.segment->work);
  const BlockWork& work = buffers.work[index];
  BlockProgress& progress = buffers.progress[index];
  wait_for(progress.gathered, work.gather_items);
  wait_for_place(work, true);

  const PackedView& w = block_of(item).gate_up;
  const std::int64_t panel = item.panel_tile * work.gate_up.tile_panels;
  const std::int64_t panels = std::min(work.gate_up.tile_panels, w.panels() - panel);
  const Rows rows = rows_of_tile(*item.segment, item.row_tile);
  auto* c = reinterpret_cast<float*>(buffers.tile.row(worker));
  kernel.panels.run({buffers.x.row(work.first_x + rows.first), w.data + panel * w.panel_stride(),
                     w.panel_stride(), c, panels * kPanelRows, rows.count, panels, w.cols,
                     next.panels, next.stride, false});
  activate(work, rows, panel, panels, c);
  progress.activated.fetch_add(1, std::memory_order_release);
}

// Sums of GEMM 1 into the layout of GEMM 2's input.
void Pass::activate(const BlockWork& work, const Rows& rows, std::int64_t first_panel,
                    std::int64_t panels, const float* c) const {
  const ExpertBlock& block = bank.blocks()[static_cast<std::size_t>(work.block)];
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
  const RowBuffer act = activations(work);
  const std::int64_t tiles = tile_count(layout, rows.count);
  for (std::int64_t tile = 0; tile < tiles; ++tile) {
    const std::int64_t first = tile_begin(rows.count, tiles, tile);
    const std::int64_t tokens = tile_begin(rows.count, tiles, tile + 1) - first;
    job.tokens = tokens;
    job.group_stride = tokens * layout.group * kernel.stage_bytes;
    job.c = c + first * c_stride;
    job.out = act.row(rows.first + first);
    kernel.isa->activate(job);
  }
}

void Pass::down(const Item& item, const Weights& next) const {
  const auto index = static_cast<std::size_t>(item.segment->work);
  const BlockWork& work = buffers.work[index];
  wait_for(buffers.progress[index].activated, work.gate_up_items);

  const PackedView& w = block_of(item).down;
  const std::int64_t panel = item.panel_tile * work.down.tile_panels;
  const std::int64_t panels = std::min(work.down.tile_panels, w.panels() - panel);
  const Rows rows = rows_of_tile(*item.segment, item.row_tile);
  auto* y = reinterpret_cast<float*>(buffers.y.row(work.first_row + rows.first));
  kernel.panels.run(
      {activations(work).row(rows.first), w.data + panel * w.panel_stride(), w.panel_stride(),
       y + panel * kPanelRows, buffers.y.stride / static_cast<std::int64_t>(sizeof(float)),
       rows.count, panels, w.cols, next.panels, next.stride,
       is_streamed(static_cast<std::int64_t>(buffers.y.memory.size() / sizeof(float)))});
  buffers.progress[index].down.fetch_add(1, std::memory_order_release);
  buffers.pass[0].down_done.fetch_add(1, std::memory_order_release);
}

void Pass::combine(std::int64_t tile) const {
  wait_for(buffers.pass[0].down_done, schedule.down_items);
  const std::int64_t tiles = ceil_div(plan.tokens, kCombineTokens);
  for (std::int64_t token = part_begin(plan.tokens, tiles, tile);
       token < part_begin(plan.tokens, tiles, tile + 1); ++token) {
    combine_token(token);
  }
}

}  // namespace sluice
