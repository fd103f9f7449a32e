#include "backends/cpu/pass.hpp"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>

#include "base/element.hpp"

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

RowFormat row_format(DType dtype) {
  if (dtype == DType::f32) return RowFormat::f32;
  return dtype == DType::bf16 ? RowFormat::bf16 : RowFormat::f16;
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
  rows.memory = rows.memory.subspan(static_cast<std::size_t>(work.first_row * rows.stride));
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
  work.rows = rows;
  tile_block(weights.gate_up, weights.down, gate_up_unit, work);
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

void Pass::work(int worker) const {
  const auto segments = schedule.segments;
  std::size_t at = 0;
  for (;;) {
    const std::int64_t item = buffers.pass[0].next_item.fetch_add(1, std::memory_order_relaxed);
    if (item >= schedule.items) return;
    while (item >= segments[at].first + segments[at].items()) ++at;
    run(segments[at], item - segments[at].first, worker);
  }
}

void Pass::run(const Segment& segment, std::int64_t item, int worker) const {
  const std::int64_t row_tile = item % segment.row_tiles;
  const std::int64_t panel_tile = item / segment.row_tiles;
  switch (segment.stage) {
    case Stage::gather:
      return gather(segment, row_tile);
    case Stage::gate_up:
      return gate_up(segment, row_tile, panel_tile, worker);
    case Stage::down:
      return down(segment, row_tile, panel_tile);
    case Stage::combine:
      return combine(row_tile);
  }
}

Pass::Rows Pass::rows_of_tile(const Segment& segment, std::int64_t tile) const {
  const std::int64_t rows = buffers.work[static_cast<std::size_t>(segment.work)].rows;
  const std::int64_t begin = part_begin(rows, segment.row_tiles, tile);
  return {begin, part_begin(rows, segment.row_tiles, tile + 1) - begin};
}

void Pass::gather(const Segment& segment, std::int64_t tile) const {
  const auto index = static_cast<std::size_t>(segment.work);
  const BlockWork& work = buffers.work[index];
  const bool shared = is_shared(work);
  const bool weighted = spec.router.apply_router_weight_on_input && !shared;
  const RowFormat from = row_format(hidden.dtype);
  const Rows rows = rows_of_tile(segment, tile);
  for (std::int64_t r = rows.first; r < rows.first + rows.count; ++r) {
    const auto at = static_cast<std::size_t>(work.first_row + r);
    const std::byte* source = hidden_row(shared ? r : plan.row_token[at]);
    std::byte* x = buffers.x.row(work.first_row + r);
    if (from == kernel.stage && !weighted) {
      std::memcpy(x, source,
                  static_cast<std::size_t>(spec.experts.hidden_size * kernel.stage_bytes));
    } else {
      kernel.isa->convert({source, x, spec.experts.hidden_size, from, kernel.stage,
                           weighted ? plan.row_weight[at] : 1.0f});
    }
  }
  buffers.progress[index].gathered.fetch_add(1, std::memory_order_release);
}

void Pass::gate_up(const Segment& segment, std::int64_t row_tile, std::int64_t panel_tile,
                   int worker) const {
  const auto index = static_cast<std::size_t>(segment.work);
  const BlockWork& work = buffers.work[index];
  const ExpertBlock& block = bank.blocks()[static_cast<std::size_t>(work.block)];
  BlockProgress& progress = buffers.progress[index];
  wait_for(progress.gathered, ceil_div(work.rows, kGatherRows));

  const PackedView& w = block.gate_up;
  const std::int64_t panel = panel_tile * work.gate_up.tile_panels;
  const std::int64_t panels = std::min(work.gate_up.tile_panels, w.panels() - panel);
  const Rows rows = rows_of_tile(segment, row_tile);
  auto* c = reinterpret_cast<float*>(buffers.tile.row(worker));
  const std::int64_t c_stride = panels * kPanelRows;
  kernel.panels({buffers.x.row(work.first_row + rows.first), buffers.x.stride,
                 w.data + panel * w.panel_stride(), w.panel_stride(), c, c_stride, rows.count,
                 panels, w.cols});

  ActivationJob job = activation_job(spec.experts, is_shared(work));
  const std::int64_t first = panel * kPanelRows / gate_up_unit;
  job.count = std::min(c_stride / gate_up_unit, block.width - first);
  job.bias = block.gate_up_bias == nullptr ? nullptr : block.gate_up_bias + panel * kPanelRows;
  job.out_format = kernel.stage;
  const RowBuffer act = activations(work);
  for (std::int64_t r = 0; r < rows.count; ++r) {
    job.c = c + r * c_stride;
    job.out = act.row(rows.first + r) + first * kernel.stage_bytes;
    kernel.isa->activate(job);
  }
  progress.activated.fetch_add(1, std::memory_order_release);
}

void Pass::down(const Segment& segment, std::int64_t row_tile, std::int64_t panel_tile) const {
  const auto index = static_cast<std::size_t>(segment.work);
  const BlockWork& work = buffers.work[index];
  wait_for(buffers.progress[index].activated, work.gate_up_items);

  const PackedView& w = bank.blocks()[static_cast<std::size_t>(work.block)].down;
  const std::int64_t panel = panel_tile * work.down.tile_panels;
  const std::int64_t panels = std::min(work.down.tile_panels, w.panels() - panel);
  const Rows rows = rows_of_tile(segment, row_tile);
  const RowBuffer act = activations(work);
  auto* y = reinterpret_cast<float*>(buffers.y.row(work.first_row + rows.first));
  kernel.panels({act.row(rows.first), act.stride, w.data + panel * w.panel_stride(),
                 w.panel_stride(), y + panel * kPanelRows,
                 buffers.y.stride / static_cast<std::int64_t>(sizeof(float)), rows.count, panels,
                 w.cols});
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

// fp32 sum over slots in slot order, then the factor, then the shared block; rounded once.
void Pass::combine_token(std::int64_t token) const {
  constexpr std::int64_t kColumns = 1024;
  alignas(64) float sum[kColumns];
  const std::int64_t hidden_size = spec.experts.hidden_size;
  const bool on_input = spec.router.apply_router_weight_on_input;
  const float shared = bank.has_shared() ? shared_scale(token) : 0.0f;
  for (std::int64_t first = 0; first < hidden_size; first += kColumns) {
    const std::int64_t count = std::min(kColumns, hidden_size - first);
    const auto y = [&](std::int64_t row) {
      return reinterpret_cast<const float*>(buffers.y.row(row)) + first;
    };
    std::fill_n(sum, count, 0.0f);
    for (std::int64_t slot = 0; slot < plan.top_k; ++slot) {
      const std::int64_t row = plan.slot_row[static_cast<std::size_t>(token * plan.top_k + slot)];
      if (row < 0) continue;
      // The plan's offsets say whose row it is; only a bias makes the expert matter here.
      const float weight = plan.row_weight[static_cast<std::size_t>(row)];
      const float* bias = nullptr;
      if (spec.experts.down_bias) {
        const auto after =
            std::upper_bound(plan.expert_offsets.begin(), plan.expert_offsets.end(), row);
        const auto& block =
            bank.blocks()[static_cast<std::size_t>(after - plan.expert_offsets.begin() - 1)];
        if (block.down_bias != nullptr) bias = block.down_bias + first;
      }
      kernel.isa->accumulate({sum, y(row), bias, count, on_input ? 1.0f : weight, weight});
    }
    if (spec.router.apply_routed_scale_to_output) {
      const auto factor = static_cast<float>(spec.router.routed_scaling_factor);
      for (std::int64_t i = 0; i < count; ++i) sum[i] *= factor;
    }
    if (bank.has_shared()) {
      kernel.isa->accumulate({sum, y(plan.rows() + token), nullptr, count, shared, 0.0f});
    }
    auto* to = static_cast<std::byte*>(output.data) +
               (token * hidden_size + first) * bits(output.dtype) / 8;
    kernel.isa->convert({sum, to, count, RowFormat::f32, row_format(output.dtype), 1.0f});
  }
}

// sigmoid(w . x) of the shared experts' gate, on the hidden states as given; 1 without a gate.
float Pass::shared_scale(std::int64_t token) const {
  if (shared_gate.empty()) return 1.0f;
  double sums[4] = {};
  const auto count = static_cast<std::int64_t>(shared_gate.size());
  for (std::int64_t i = 0; i < count; ++i) {
    sums[i % 4] += double{shared_gate[static_cast<std::size_t>(i)]} *
                   load_float(hidden.data, hidden.dtype, token * count + i);
  }
  return static_cast<float>(1.0 / (1.0 + std::exp(-(sums[0] + sums[1] + sums[2] + sums[3]))));
}

}  // namespace sluice
