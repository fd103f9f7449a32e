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

}  // namespace

bool Pass::is_shared(const BlockWork& work) const {
  return bank.has_shared() && work.block + 1 == static_cast<std::int64_t>(bank.blocks().size());
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
  schedule = build_schedule(buffers.work.first(works), plan.tokens, {rounds, buffers.whole},
                            buffers.segments);
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

const ExpertBlock& Pass::block_of(const BlockWork& work) const {
  return bank.blocks()[static_cast<std::size_t>(work.block)];
}

Pass::Weights Pass::gate_up_weights(const BlockWork& work, std::int64_t panel_tile) const {
  const PackedView& w = block_of(work).gate_up;
  return {w.data + panel_tile * work.gate_up.tile_panels * w.panel_stride(), w.panel_stride()};
}

Pass::Weights Pass::down_weights(const BlockWork& work, std::int64_t panel_tile) const {
  const PackedView& w = block_of(work).down;
  return {w.data + panel_tile * work.down.tile_panels * w.panel_stride(), w.panel_stride()};
}

Pass::Weights Pass::weights_of(const Item& item) const {
  const BlockWork& work = buffers.work[static_cast<std::size_t>(item.segment->work)];
  switch (item.segment->stage) {
    case Stage::gate_up:
      return gate_up_weights(work, item.panel_tile);
    case Stage::whole:
      return gate_up_weights(work, 0);
    case Stage::down:
      return down_weights(work, item.panel_tile);
    default:
      return {};
  }
}

void Pass::run(const Item& item, const Weights& next, int worker) const {
  switch (item.segment->stage) {
    case Stage::round:
      return round(item.row_tile);
    case Stage::gather:
      return gather(item);
    case Stage::gate_up:
      return gate_up(item, next, worker);
    case Stage::down:
      return down(item, next);
    case Stage::whole:
      return whole(item, next, worker);
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

// Gathered as they come, rows would be read in fp32 and rounded once for each of their experts.
void Pass::round(std::int64_t tile) const {
  const std::int64_t tiles = ceil_div(plan.tokens, kRoundTokens);
  for (std::int64_t token = part_begin(plan.tokens, tiles, tile);
       token < part_begin(plan.tokens, tiles, tile + 1); ++token) {
    kernel.isa->convert({hidden_row(token), buffers.rounded.row(token), spec.experts.hidden_size,
                         row_format(hidden.dtype), kernel.stage, 1.0f});
  }
  buffers.pass[0].rounded.fetch_add(1, std::memory_order_release);
}

void Pass::wait_for_rounded() const { wait_for(buffers.pass[0].rounded, schedule.round_items); }

Pass::Place Pass::place_of(const BlockWork& work, const Rows& rows) const {
  const RowBuffer& act = is_shared(work) ? buffers.shared_act : buffers.act;
  return {buffers.x.row(work.first_x + rows.first),
          act.row((is_shared(work) ? 0 : work.first_act) + rows.first)};
}

// Its part of the tiles that the kernel cuts the row tile into.
void Pass::gather(const Item& item) const {
  const auto index = static_cast<std::size_t>(item.segment->work);
  const BlockWork& work = buffers.work[index];
  wait_for_rounded();
  wait_for_place(work, false);
  const Rows rows = rows_of_tile(*item.segment, item.row_tile);
  const std::int64_t tiles = tile_count(kernel.panels.layout, rows.count);
  gather_tiles(work, rows, part_begin(tiles, work.gather_parts, item.panel_tile),
               part_begin(tiles, work.gather_parts, item.panel_tile + 1), place_of(work, rows).x);
  buffers.progress[index].gathered.fetch_add(1, std::memory_order_release);
}

void Pass::gate_up(const Item& item, const Weights& next, int worker) const {
  const auto index = static_cast<std::size_t>(item.segment->work);
  const BlockWork& work = buffers.work[index];
  wait_for(buffers.progress[index].gathered, work.gather_items);
  wait_for_place(work, true);
  const Rows rows = rows_of_tile(*item.segment, item.row_tile);
  gate_up_panels(work, rows, item.panel_tile, place_of(work, rows), next, worker);
  buffers.progress[index].activated.fetch_add(1, std::memory_order_release);
}

void Pass::down(const Item& item, const Weights& next) const {
  const auto index = static_cast<std::size_t>(item.segment->work);
  const BlockWork& work = buffers.work[index];
  wait_for(buffers.progress[index].activated, work.gate_up_items);
  const Rows rows = rows_of_tile(*item.segment, item.row_tile);
  down_panels(work, rows, item.panel_tile, place_of(work, rows).act, next);
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
