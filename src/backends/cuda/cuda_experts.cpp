#include "backends/cuda/cuda_experts.hpp"

#include <algorithm>
#include <cmath>

#include "backends/cuda/device.hpp"
#include "backends/cuda/error.hpp"
#include "backends/cuda/few/few.hpp"
#include "backends/cuda/route_choice.hpp"
#include "base/fail.hpp"
#include "base/token_rows.hpp"

namespace sluice::cuda {
namespace {

// More tokens go through in pieces of this many: it bounds the workspace, and at this size the
// weights that are read again cost a few percent at most.
constexpr std::int64_t kChunkTokens = 16384;

void check_aligned(const char* name, const void* data) {
  if (reinterpret_cast<std::uintptr_t>(data) % 16 == 0) return;
  fail(ErrorKind::user,
       "{} is at {}, which is not a multiple of 16; backend cuda reads 16 bytes "
       "at a time: give a buffer aligned to 16",
       name, data);
}

}  // namespace

struct CudaExperts::Call {
  Plan plan;
  Ffn ffn;
  Staging staging;
  float* logits = nullptr;  // [tokens, E], where the router's weight was loaded
};

CudaExperts::CudaExperts(const MoeSpec& spec, const MoeWeights& weights, const LoadOptions& options)
    : spec_(spec),
      device_(options.device),
      round_slots_(options.may_round_slot_outputs),
      bank_(spec, weights, options.device) {}

bool CudaExperts::plain() const {
  const ExpertSpec& experts = spec_.experts;
  return experts.activation == Activation::swiglu && experts.swiglu_alpha == 1.0 &&
         experts.swiglu_beta == 0.0 && std::isinf(experts.swiglu_limit) && bank_.bias1 == nullptr;
}

OneTokenSizes CudaExperts::one_token_sizes() const {
  return {multiprocessors(), spec_.router.top_k, spec_.experts.hidden_size,
          bank_.routed.rows1() / kStripRows,
          bank_.shared.width > 0 ? bank_.shared.rows1() / kStripRows : 0};
}

Flow CudaExperts::flow(std::int64_t tokens) const {
  return choose_flow({tokens, spec_.router.num_experts,
                      bank_.routed.bytes1() + bank_.routed.bytes2(),
                      spec_.router.apply_router_weight_on_input});
}

CudaExperts::Call CudaExperts::prepare(std::int64_t tokens, Workspace& workspace) const {
  const std::int64_t top_k = spec_.router.top_k;
  const std::int64_t slots = tokens * top_k;
  const std::int64_t hidden = spec_.experts.hidden_size;
  const bool few = flow(tokens) != Flow::planned;
  const bool dense = flow(tokens) == Flow::dense;
  const bool has_shared = bank_.shared.width > 0;
  const FfnTile tile = choose_ffn({tokens, top_k, spec_.router.num_experts, plain()});
  const std::int64_t token_groups = ceil_div(tokens, kGroupRows);
  const std::int64_t segment_groups = few ? token_groups : max_groups(tile);

  // Each expert that is hit rounds its rows up to a group.
  const std::int64_t hit_most = std::min(bank_.local_experts, slots);
  const std::int64_t groups =
      dense ? hit_most * token_groups : (slots + (kGroupRows - 1) * hit_most) / kGroupRows;
  // As many as the shortest segments make, so that the size grows with the tokens whatever is
  // chosen.
  const std::int64_t segments =
      dense ? hit_most : groups / max_groups(FfnTile::rows64_tokens32) + hit_most;
  const std::int64_t shared_groups = has_shared ? token_groups : 0;
  const std::int64_t shared_segments = ceil_div(shared_groups, segment_groups);
  const std::int64_t ready =
      segments + ceil_div(shared_groups, max_groups(FfnTile::rows64_tokens32));

  Call call;
  Plan& plan = call.plan;
  plan.tokens = static_cast<int>(tokens);
  plan.top_k = static_cast<int>(top_k);
  plan.local_experts = static_cast<int>(bank_.local_experts);
  plan.segment_groups = static_cast<int>(segment_groups);
  plan.block_tokens = static_cast<int>(block_tokens(tokens));
  plan.blocks = static_cast<int>(ceil_div(tokens, plan.block_tokens));
  plan.count_row = static_cast<int>(count_row(bank_.local_experts));
  plan.counter_count = static_cast<int>(1 + ready);
  plan.slot_local = workspace.take<std::int32_t>(slots).data();
  plan.slot_weight = workspace.take<float>(slots).data();
  plan.slot_row = workspace.take<std::int32_t>(slots).data();
  plan.block_counts = workspace.take<std::uint8_t>(max_blocks(tokens) * plan.count_row).data();
  plan.slot_rank = workspace.take<std::uint8_t>(slots).data();
  plan.segments = workspace.take<Segment>(segments).data();
  plan.segment_count = workspace.take<std::int32_t>(1).data();
  plan.counters = workspace.take<std::int32_t>(plan.counter_count).data();
  plan.next_tile = plan.counters;
  plan.ready = plan.counters + 1;

  if (computes_logits()) {
    call.logits = workspace.take<float>(tokens * spec_.router.num_experts).data();
  }
  if (bank_.shared_gate != nullptr) call.staging.gate_out = workspace.take<float>(tokens).data();

  Staging& staging = call.staging;
  staging.hidden = static_cast<int>(hidden);
  staging.column_blocks = static_cast<int>(bank_.routed.columns1());
  // Rows of all experts at once serve the shared block, too.
  staging.routed_groups = static_cast<int>(dense ? 0 : groups);
  staging.groups = dense ? token_groups : groups + shared_groups;
  staging.has_shared = has_shared;
  staging.weight_on_input = spec_.router.apply_router_weight_on_input;
  staging.shared_gate = bank_.shared_gate;
  staging.x =
      workspace.take<std::uint8_t>(staging.groups * staging.column_blocks * kGroupBytes).data();

  Ffn& ffn = call.ffn;
  const auto block_of = [](const BlockShape& shape, const std::uint8_t* weights1,
                           const std::uint8_t* weights2) {
    FfnBlocks blocks;
    blocks.weights1 = weights1;
    blocks.weights2 = weights2;
    blocks.tiles1 = static_cast<int>(shape.rows1() / kTileRows);
    blocks.columns1 = static_cast<int>(shape.columns1());
    blocks.columns2 = static_cast<int>(shape.columns2());
    return blocks;
  };
  const ExpertSpec& experts = spec_.experts;
  ffn.routed = block_of(bank_.routed, bank_.weights1, bank_.weights2);
  ffn.routed.bias1 = bank_.bias1;
  ffn.routed.h_groups = groups;
  ffn.routed.h =
      workspace.take<std::uint8_t>(groups * bank_.routed.columns2() * kGroupBytes).data();
  ffn.routed.activation = {experts.activation, static_cast<float>(experts.swiglu_alpha),
                           static_cast<float>(experts.swiglu_beta),
                           static_cast<float>(experts.swiglu_limit),
                           std::isfinite(experts.swiglu_limit)};
  if (has_shared) {
    ffn.shared = block_of(bank_.shared, bank_.shared1, bank_.shared2);
    ffn.shared.h_groups = shared_groups;
    ffn.shared.h_group0 = static_cast<int>(groups);
    ffn.shared.h =
        workspace.take<std::uint8_t>(shared_groups * bank_.shared.columns2() * kGroupBytes).data();
    ffn.shared.activation.kind = experts.activation;  // no alpha, beta and limit
    ffn.shared_segments = static_cast<int>(shared_segments);
    ffn.shared_x_group = staging.routed_groups;
  }
  ffn.tiles2 = static_cast<int>(bank_.routed.rows2() / kTileRows);
  ffn.gated = bank_.routed.gated;
  ffn.x = staging.x;
  ffn.x_groups = staging.groups;
  const std::int64_t rows = dense ? slots : groups * kGroupRows;
  if (round_slots_) {
    ffn.routed.rounded_y = workspace.take<std::uint16_t>(rows * rounded_columns(hidden)).data();
  } else {
    ffn.routed.y = workspace.take<float>(rows * hidden).data();
  }
  ffn.shared.y = workspace.take<float>(shared_groups * kGroupRows * hidden).data();
  ffn.hidden = static_cast<int>(hidden);
  ffn.tile = tile;
  ffn.plain = plain();
  return call;
}

std::size_t CudaExperts::workspace_bytes(std::int64_t tokens) const {
  if (tokens == 0) return 0;
  const auto bytes = [&](std::int64_t count) {
    Workspace counted;
    prepare(count, counted);
    return counted.used();
  };
  // The most tokens of a flow may need more than one more does in the next.
  const std::int64_t chunk = std::min(tokens, kChunkTokens);
  return std::max({bytes(chunk), bytes(std::min<std::int64_t>(chunk, kFewTokens)),
                   bytes(std::min<std::int64_t>(chunk, kDenseTokens))});
}

void CudaExperts::forward(const ForwardInput& input, const ForwardOutput& output,
                          std::span<std::byte> workspace, void* stream) const {
  const std::int64_t tokens = input.hidden_states.shape[0];
  if (tokens == 0) return;
  check_aligned("hidden_states", input.hidden_states.data);
  check_aligned("output", output.output.data);
  if (workspace.size() < workspace_bytes(tokens)) {
    fail(ErrorKind::user, "the workspace has {} bytes; {} tokens need {} (workspace_bytes)",
         workspace.size(), tokens, workspace_bytes(tokens));
  }
  const DeviceScope scope(device_);
  for (std::int64_t first = 0; first < tokens; first += kChunkTokens) {
    const std::int64_t count = std::min(kChunkTokens, tokens - first);
    const Counted counted{static_cast<const std::int32_t*>(input.token_count.data), first};
    forward_chunk(token_rows(input, first, count), token_rows(output, first, count), counted,
                  workspace.data(), static_cast<cudaStream_t>(stream));
  }
}

void CudaExperts::forward_chunk(const ForwardInput& input, const ForwardOutput& output,
                                const Counted& counted, std::byte* memory,
                                cudaStream_t stream) const {
  const std::int64_t tokens = input.hidden_states.shape[0];
  Workspace workspace(memory);
  Call call = prepare(tokens, workspace);
  call.plan.token_count = counted.tokens;
  call.plan.first_token = static_cast<int>(counted.first);
  call.ffn.plan = call.plan;

  Routing routing;
  routing.router = spec_.router;
  routing.tokens = static_cast<int>(tokens);
  routing.logits = input.router_logits.data;
  routing.logits_dtype = input.router_logits.dtype;
  routing.router_bias = bank_.router_bias;
  routing.correction_bias = bank_.correction_bias;
  routing.given_ids = input.topk_ids.data;
  routing.given_ids_dtype = input.topk_ids.dtype;
  routing.given_weights = input.topk_weights.data;
  routing.given_weights_dtype = input.topk_weights.dtype;
  routing.local_expert = bank_.local_expert;
  routing.ids_out = static_cast<std::int32_t*>(output.topk_ids.data);
  routing.weights_out = static_cast<float*>(output.topk_weights.data);

  if (input.router_logits.empty() && input.topk_ids.empty()) {
    RouterLogits own;
    own.hidden_states = input.hidden_states.data;
    own.dtype = input.hidden_states.dtype;
    own.weight = bank_.router_weight;
    own.weight_dtype = bank_.router_dtype;
    own.tokens = static_cast<int>(tokens);
    own.experts = static_cast<int>(spec_.router.num_experts);
    own.hidden = call.staging.hidden;
    own.logits = call.logits;
    router_logits(own, stream);
    routing.logits = call.logits;
    routing.logits_dtype = DType::f32;
  }

  call.staging.hidden_states = input.hidden_states.data;
  call.staging.dtype = input.hidden_states.dtype;
  Prefetch ahead;
  ahead.from = bank_.weights1;
  if (flow(tokens) == Flow::planned) {  // the others' FFN does not wait for a plan
    ahead.bytes = prefetch_bytes(tokens * spec_.router.top_k, spec_.experts.hidden_size,
                                 bank_.routed.bytes1() * bank_.local_experts);
  }
  Combine last;
  last.hidden = call.ffn.hidden;
  last.y_rounded = round_slots_;
  if (round_slots_) {
    last.y = call.ffn.routed.rounded_y;
    last.y_chunks = static_cast<int>(rounded_columns(last.hidden) / 8);
  } else {
    last.y = call.ffn.routed.y;
    last.y_chunks = last.hidden / 4;
  }
  if (bank_.shared.width > 0) last.shared_y = call.ffn.shared.y;
  last.down_bias = bank_.down_bias;
  last.weight_on_input = spec_.router.apply_router_weight_on_input;
  if (spec_.router.apply_routed_scale_to_output) {
    last.output_factor = static_cast<float>(spec_.router.routed_scaling_factor);
  }
  last.gate = call.staging.gate_out;
  last.output = output.output.data;
  last.dtype = output.output.dtype;
  if (tokens == 1 && plain() && !spec_.router.apply_router_weight_on_input) {
    const OneTokenSizes sizes = one_token_sizes();
    if (up_stages(sizes) > 0) {
      return run_one_token({routing, call.plan, call.staging, call.ffn.routed, call.ffn.shared,
                            call.ffn.tiles2, last},
                           sizes, stream);
    }
  }
  switch (flow(tokens)) {
    case Flow::dense:
      stage_dense(routing, call.plan, call.staging, stream);
      run_dense_ffn(call.ffn, routing, stream);
      return combine_dense(last, call.plan, routing, stream);
    case Flow::sorted:
      clear_counters(call.plan, stream);
      route_few(routing, call.plan, call.staging, stream);
      run_few_ffn(call.ffn, routing, stream);
      break;
    case Flow::planned:
      route(routing, call.plan, ahead, stream);
      place(call.plan, call.staging, stream);
      run_ffn(call.ffn, stream);
  }
  combine(last, call.plan, stream);
}

}  // namespace sluice::cuda
