#include "backends/cpu/cpu_experts.hpp"

#include <algorithm>
#include <atomic>
#include <utility>

#include "base/element.hpp"
#include "base/token_rows.hpp"
#include "base/workspace.hpp"
#include "routing/plan.hpp"

namespace sluice {
namespace {

// Rows of one pass. At Kimi-Linear's width (2304) the workspace then stays below 0.5 GB, and with
// 256 experts each still sees 128 rows per reading of its weights.
constexpr std::int64_t kChunkRows = 32768;
// Below these, waking other threads (about 2 us) costs more than it saves.
constexpr std::int64_t kSerialProducts = 1 << 17;
constexpr std::int64_t kSerialLogits = 1 << 12;
constexpr std::int64_t kRouteTokens = 16;
// From so many on, rounding hidden states before they are gathered is worth a stage of its own.
constexpr std::int64_t kRoundedTokens = 64;
// From so many rows per expert, and items per worker, on, workers take row tiles through all
// stages.
constexpr std::int64_t kWholeRows = 32;
constexpr std::int64_t kWholeItems = 4;
// Not with weights so many that each row tile would fetch them from memory again.
constexpr std::int64_t kWholeBytes = std::int64_t{16} << 20;
// x of all blocks together that second caches hold until it is read.
constexpr std::int64_t kKeptBytes = std::int64_t{2} << 20;

// Whole cache lines, an odd number of them.
std::int64_t row_stride(std::int64_t bytes) {
  const std::int64_t lines = (bytes + 63) / 64;
  return (lines | 1) * 64;
}

// Rows in a kernel's layout leave no gaps: a tile's columns are interleaved.
RowBuffer take_packed(Workspace& workspace, std::int64_t rows, std::int64_t cols,
                      const CpuKernel& kernel) {
  const std::int64_t stride = padded_columns(kernel.panels.layout, cols) * kernel.stage_bytes;
  return {workspace.take<std::byte>(rows * stride), stride};
}

RowBuffer take_rows(Workspace& workspace, std::int64_t rows, std::int64_t row_bytes) {
  const std::int64_t stride = row_stride(row_bytes);
  return {workspace.take<std::byte>(rows * stride), stride};
}

std::vector<std::int32_t> local_map(const MoeSpec& spec) {
  std::vector<std::int32_t> map(static_cast<std::size_t>(spec.router.num_experts));
  for (std::size_t e = 0; e < map.size(); ++e) {
    map[e] = static_cast<std::int32_t>(local_expert(spec, static_cast<std::int64_t>(e)));
  }
  return map;
}

std::vector<float> to_floats(const TensorView& tensor) {
  std::vector<float> values;
  if (tensor.empty()) return values;
  values.resize(static_cast<std::size_t>(tensor.shape.elements()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = load_float(tensor.data, tensor.dtype, static_cast<std::int64_t>(i));
  }
  return values;
}

}  // namespace

struct CpuExperts::Routing {
  std::span<std::int32_t> ids;  // [tokens, K]
  std::span<float> weights;     // [tokens, K]
  RowBuffer scratch;            // [workers]
};

CpuExperts::CpuExperts(const MoeSpec& spec, const MoeWeights& weights, const Isa& isa,
                       std::shared_ptr<Executor> executor)
    : spec_(spec),
      kernel_(choose_kernel(isa, spec.experts)),
      executor_(std::move(executor)),
      router_(spec.router, weights.router_bias, weights.e_score_correction_bias),
      bank_(spec, weights, *executor_),
      local_expert_(local_map(spec)),
      shared_gate_(to_floats(weights.shared_expert_gate)) {}

std::size_t CpuExperts::weight_bytes() const {
  return bank_.bytes() + shared_gate_.size() * sizeof(float);
}

std::int64_t CpuExperts::chunk_tokens(std::int64_t tokens) const {
  return std::min(tokens, std::max<std::int64_t>(1, kChunkRows / spec_.router.top_k));
}

CpuExperts::Routing CpuExperts::take_routing(std::int64_t tokens, Workspace& workspace) const {
  Routing routing;
  routing.ids = workspace.take<std::int32_t>(tokens * spec_.router.top_k);
  routing.weights = workspace.take<float>(tokens * spec_.router.top_k);
  routing.scratch = take_rows(workspace, executor_->workers(),
                              static_cast<std::int64_t>(router_.workspace_bytes()));
  return routing;
}

bool CpuExperts::goes_whole(std::int64_t slots) const {
  const auto experts = static_cast<std::int64_t>(bank_.blocks().size()) - bank_.has_shared();
  if (experts == 0 || slots < kWholeRows * experts ||
      slots < kWholeItems * kMostTileRows * executor_->workers()) {
    return false;
  }
  const ExpertBlock& block = bank_.blocks().front();
  return block.gate_up.panels() * block.gate_up.panel_stride() +
             block.down.panels() * block.down.panel_stride() <=
         kWholeBytes;
}

PassLayout CpuExperts::layout(std::int64_t tokens) const {
  const bool routed = bank_.blocks().size() > bank_.has_shared();
  const std::int64_t slots = routed ? tokens * spec_.router.top_k : 0;
  if (goes_whole(slots)) return PassLayout::whole;
  const std::int64_t bytes = slots * spec_.experts.hidden_size * kernel_.stage_bytes;
  return slots > kPlaces * tokens && bytes > kKeptBytes ? PassLayout::in_turn : PassLayout::direct;
}

PassBuffers CpuExperts::take_buffers(std::int64_t tokens, Workspace& workspace) const {
  const auto blocks = static_cast<std::int64_t>(bank_.blocks().size());
  const std::int64_t slots =
      bank_.blocks().size() > bank_.has_shared() ? tokens * spec_.router.top_k : 0;
  const std::int64_t rows = slots + (bank_.has_shared() ? tokens : 0);
  const std::int64_t hidden = spec_.experts.hidden_size;
  constexpr std::int64_t kFloat = sizeof(float);
  PassBuffers buffers;
  // Whatever the dtype of the hidden states turns out to be: a workspace is for all of them.
  if (tokens >= kRoundedTokens && kernel_.stage == RowFormat::bf16 &&
      !spec_.router.apply_router_weight_on_input) {
    buffers.rounded = take_rows(workspace, tokens, hidden * kernel_.stage_bytes);
  }
  const std::int64_t workers = executor_->workers();
  const PassLayout how = layout(tokens);
  buffers.whole = how == PassLayout::whole;
  if (buffers.whole) {
    const std::int64_t width = std::max(local_width(spec_), local_shared_width(spec_));
    buffers.x = take_packed(workspace, workers * kMostTileRows, hidden, kernel_);
    buffers.act = take_packed(workspace, workers * kMostTileRows, width, kernel_);
  } else {
    const std::int64_t places = kPlaces * tokens;
    buffers.in_turn = how == PassLayout::in_turn;
    buffers.x = take_packed(workspace, buffers.in_turn ? places : rows, hidden, kernel_);
    buffers.act =
        take_packed(workspace, buffers.in_turn ? places : slots, local_width(spec_), kernel_);
    buffers.shared_act = take_packed(workspace, rows - slots, local_shared_width(spec_), kernel_);
  }
  buffers.y = take_rows(workspace, rows, panel_count(hidden) * kPanelRows * kFloat);
  buffers.work = workspace.take<BlockWork>(blocks);
  buffers.progress = workspace.take<BlockProgress>(blocks);
  buffers.pass = workspace.take<PassProgress>(1);
  buffers.segments = workspace.take<Segment>(max_segments(blocks));
  buffers.tile =
      take_rows(workspace, executor_->workers(), kMostTileRows * kTilePanels * kPanelRows * kFloat);
  return buffers;
}

ExpertPlan CpuExperts::plan(const Routing& routing, std::int64_t tokens,
                            Workspace& workspace) const {
  const auto routed = static_cast<std::int64_t>(bank_.blocks().size()) - bank_.has_shared();
  return build_plan(
      {tokens, spec_.router.top_k, routing.ids, routing.weights, local_expert_, routed}, workspace);
}

std::size_t CpuExperts::workspace_bytes(std::int64_t tokens) const {
  if (tokens == 0) return 0;
  const auto bytes = [&](std::int64_t count) {
    Workspace counted;
    const Routing routing = take_routing(count, counted);
    plan(routing, count, counted);
    take_buffers(count, counted);
    return counted.used();
  };
  std::int64_t count = chunk_tokens(tokens);
  std::size_t most = bytes(count);
  // Where rows begin to take turns, or to go whole, a pass needs less than one of a token less: the
  // last chunk of a call may be that one.
  while (layout(count) != PassLayout::direct) {
    std::int64_t fewer = 0;
    for (std::int64_t more = count; more - fewer > 1;) {
      const std::int64_t middle = fewer + (more - fewer) / 2;
      (layout(middle) < layout(count) ? fewer : more) = middle;
    }
    if (fewer == 0) break;
    count = fewer;
    most = std::max(most, bytes(count));
  }
  return most;
}

void CpuExperts::forward(const ForwardInput& input, const ForwardOutput& output,
                         std::span<std::byte> workspace, void*) const {
  const std::int64_t tokens = input.hidden_states.shape[0];
  if (tokens == 0) return;
  const std::int64_t chunk = chunk_tokens(tokens);
  for (std::int64_t first = 0; first < tokens; first += chunk) {
    const std::int64_t count = std::min(chunk, tokens - first);
    forward_chunk(token_rows(input, first, count), token_rows(output, first, count),
                  workspace.data());
  }
}

void CpuExperts::forward_chunk(const ForwardInput& input, const ForwardOutput& output,
                               std::byte* memory) const {
  Workspace workspace(memory);
  const std::int64_t tokens = input.hidden_states.shape[0];
  const Routing routing = take_routing(tokens, workspace);
  route(input, routing);
  if (output.topk_ids) {
    std::copy(routing.ids.begin(), routing.ids.end(),
              static_cast<std::int32_t*>(output.topk_ids.data));
  }
  if (output.topk_weights) {
    std::copy(routing.weights.begin(), routing.weights.end(),
              static_cast<float*>(output.topk_weights.data));
  }
  Pass pass{spec_,
            kernel_,
            bank_,
            shared_gate_,
            input.hidden_states,
            output.output,
            plan(routing, tokens, workspace),
            take_buffers(tokens, workspace),
            is_gated(spec_.experts.activation) ? 2 : 1};
  pass.rounds = !pass.buffers.rounded.memory.empty() && input.hidden_states.dtype != DType::bf16;
  pass.prepare();
  auto work = [&](int worker) { pass.work(worker); };
  if (pass.products() <= kSerialProducts) {
    work(0);
  } else {
    executor_->run(work);
  }
}

void CpuExperts::route(const ForwardInput& input, const Routing& routing) const {
  if (input.topk_ids) {
    return read_given_routing(input.topk_ids, input.topk_weights, spec_.router.num_experts,
                              routing.ids, routing.weights);
  }
  const std::int64_t tokens = input.router_logits.shape[0];
  std::atomic<std::int64_t> next{0};
  auto work = [&](int worker) {
    RouteJob job{input.router_logits,
                 0,
                 0,
                 routing.ids,
                 routing.weights,
                 {routing.scratch.row(worker), router_.workspace_bytes()}};
    for (;;) {
      job.first = next.fetch_add(kRouteTokens, std::memory_order_relaxed);
      if (job.first >= tokens) return;
      job.last = std::min(job.first + kRouteTokens, tokens);
      router_.route(job);
    }
  };
  if (tokens * spec_.router.num_experts <= kSerialLogits) {
    work(0);
  } else {
    executor_->run(work);
  }
}

}  // namespace sluice
