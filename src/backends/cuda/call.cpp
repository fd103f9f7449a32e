#include "backends/cuda/call.hpp"

#include <algorithm>
#include <cmath>

#include "backends/cuda/routing/route_choice.hpp"
#include "backends/cuda/tile_choice.hpp"

namespace sluice::cuda {
namespace {

// How many rows, groups and segments a call has at most.
struct Sizes {
  std::int64_t tokens;
  std::int64_t slots;
  std::int64_t groups;         // of the routed experts' h
  std::int64_t rows;           // of their outputs
  std::int64_t shared_groups;  // of the shared block
  std::int64_t segment_groups;
  std::int64_t segments;  // of the routed experts
  std::int64_t counters;

  Sizes(const LoadedLayer& layer, Flow flow, FfnTile tile, std::int64_t of_tokens)
      : tokens(of_tokens), slots(of_tokens * layer.spec.router.top_k) {
    const std::int64_t shortest = max_groups(FfnTile::rows64_tokens32);  // segment
    const bool dense = flow == Flow::dense;
    const std::int64_t token_groups = ceil_div(tokens, kGroupRows);
    // Each expert that is hit rounds its rows up to a group, or computes all tokens.
    const std::int64_t hit_most = std::min(layer.bank.local_experts, slots);
    groups = dense ? hit_most * token_groups : (slots + (kGroupRows - 1) * hit_most) / kGroupRows;
    rows = dense ? slots : groups * kGroupRows;
    shared_groups = layer.has_shared() ? token_groups : 0;
    segment_groups = flow == Flow::planned ? max_groups(tile) : token_groups;
    // Whatever tile is chosen, so that the size grows with the tokens.
    segments = dense ? hit_most : groups / shortest + hit_most;
    counters = 1 + segments + ceil_div(shared_groups, shortest);
  }
};

Plan plan_of(const LoadedLayer& layer, const Sizes& sizes, Workspace& workspace) {
  Plan plan;
  plan.tokens = static_cast<int>(sizes.tokens);
  plan.top_k = static_cast<int>(layer.spec.router.top_k);
  plan.local_experts = static_cast<int>(layer.bank.local_experts);
  plan.segment_groups = static_cast<int>(sizes.segment_groups);
  plan.block_tokens = static_cast<int>(block_tokens(sizes.tokens));
  plan.blocks = static_cast<int>(ceil_div(sizes.tokens, plan.block_tokens));
  plan.count_row = static_cast<int>(count_row(layer.bank.local_experts));
  plan.slot_local = workspace.take<std::int32_t>(sizes.slots).data();
  plan.slot_weight = workspace.take<float>(sizes.slots).data();
  plan.slot_row = workspace.take<std::int32_t>(sizes.slots).data();
  plan.block_counts =
      workspace.take<std::uint8_t>(max_blocks(sizes.tokens) * plan.count_row).data();
  plan.slot_rank = workspace.take<std::uint8_t>(sizes.slots).data();
  plan.segments = workspace.take<Segment>(sizes.segments).data();
  plan.segment_count = workspace.take<std::int32_t>(1).data();
  plan.counter_count = static_cast<int>(sizes.counters);
  plan.counters = workspace.take<std::int32_t>(sizes.counters).data();
  plan.next_tile = plan.counters;
  plan.ready = plan.counters + 1;
  return plan;
}

Routing routing_of(const LoadedLayer& layer, std::int64_t tokens) {
  Routing routing;
  routing.router = layer.spec.router;
  routing.tokens = static_cast<int>(tokens);
  routing.router_bias = layer.bank.router_bias;
  routing.correction_bias = layer.bank.correction_bias;
  routing.local_expert = layer.bank.local_expert;
  return routing;
}

Staging staging_of(const LoadedLayer& layer, Flow flow, const Sizes& sizes, Workspace& workspace) {
  const bool dense = flow == Flow::dense;
  Staging staging;
  staging.hidden = static_cast<int>(layer.spec.experts.hidden_size);
  staging.column_blocks = static_cast<int>(layer.bank.routed.columns1());
  // Dense: one copy of the tokens serves all experts and the shared block.
  staging.routed_groups = static_cast<int>(dense ? 0 : sizes.groups);
  staging.groups = dense ? ceil_div(sizes.tokens, kGroupRows) : sizes.groups + sizes.shared_groups;
  staging.has_shared = layer.has_shared();
  staging.weight_on_input = layer.spec.router.apply_router_weight_on_input;
  staging.shared_gate = layer.bank.shared_gate;
  if (staging.shared_gate != nullptr) {
    staging.gate_out = workspace.take<float>(sizes.tokens).data();
  }
  staging.x =
      workspace.take<std::uint8_t>(staging.groups * staging.column_blocks * kGroupBytes).data();
  return staging;
}

FfnBlocks blocks_of(const BlockShape& shape, const std::uint8_t* weights1,
                    const std::uint8_t* weights2, std::int64_t groups, Workspace& workspace) {
  FfnBlocks blocks;
  blocks.weights1 = weights1;
  blocks.weights2 = weights2;
  blocks.tiles1 = static_cast<int>(shape.rows1() / kTileRows);
  blocks.columns1 = static_cast<int>(shape.columns1());
  blocks.columns2 = static_cast<int>(shape.columns2());
  blocks.units = static_cast<int>(shape.width);
  blocks.h_groups = groups;
  blocks.h = workspace.take<std::uint8_t>(groups * shape.columns2() * kGroupBytes).data();
  return blocks;
}

Ffn ffn_of(const LoadedLayer& layer, const Sizes& sizes, const Staging& staging, FfnTile tile,
           Workspace& workspace) {
  const WeightBank& bank = layer.bank;
  const ExpertSpec& experts = layer.spec.experts;
  const std::int64_t hidden = experts.hidden_size;
  const std::int64_t row_pairs = output_columns(hidden) / 2;
  Ffn ffn;
  ffn.routed = blocks_of(bank.routed, bank.weights1, bank.weights2, sizes.groups, workspace);
  ffn.routed.bias1 = bank.bias1;
  ffn.routed.activation = {experts.activation, static_cast<float>(experts.swiglu_alpha),
                           static_cast<float>(experts.swiglu_beta),
                           static_cast<float>(experts.swiglu_limit),
                           std::isfinite(experts.swiglu_limit)};
  if (layer.round_slots) {
    ffn.routed.rounded_y = workspace.take<std::uint32_t>(sizes.rows * row_pairs).data();
  } else {
    ffn.routed.y = workspace.take<float2>(sizes.rows * row_pairs).data();
  }
  if (layer.has_shared()) {
    ffn.shared = blocks_of(bank.shared, bank.shared1, bank.shared2, sizes.shared_groups, workspace);
    ffn.shared.h_group0 = static_cast<int>(sizes.groups);
    ffn.shared.activation.kind = experts.activation;  // no alpha, beta and limit
    ffn.shared.y = workspace.take<float2>(sizes.shared_groups * kGroupRows * row_pairs).data();
    ffn.shared_segments = static_cast<int>(ceil_div(sizes.shared_groups, sizes.segment_groups));
    ffn.shared_x_group = staging.routed_groups;
  }
  ffn.tiles2 = static_cast<int>(bank.routed.rows2() / kTileRows);
  ffn.gated = bank.routed.gated;
  ffn.x = staging.x;
  ffn.x_groups = staging.groups;
  ffn.hidden = static_cast<int>(hidden);
  ffn.tile = tile;
  ffn.plain = layer.plain();
  return ffn;
}

Combine combine_of(const LoadedLayer& layer, const Ffn& ffn, const Staging& staging) {
  const RouterSpec& router = layer.spec.router;
  Combine last;
  last.hidden = ffn.hidden;
  last.y_rounded = layer.round_slots;
  const std::int64_t columns = output_columns(last.hidden);
  if (layer.round_slots) {
    last.y = ffn.routed.rounded_y;
    last.y_chunks = static_cast<int>(columns / 8);
  } else {
    last.y = ffn.routed.y;
    last.y_chunks = static_cast<int>(columns / 4);
  }
  last.shared_y = ffn.shared.y;
  last.down_bias = layer.bank.down_bias;
  last.weight_on_input = router.apply_router_weight_on_input;
  if (router.apply_routed_scale_to_output) {
    last.output_factor = static_cast<float>(router.routed_scaling_factor);
  }
  last.gate = staging.gate_out;
  return last;
}

}  // namespace

bool LoadedLayer::plain() const {
  const ExpertSpec& experts = spec.experts;
  return experts.activation == Activation::swiglu && experts.swiglu_alpha == 1.0 &&
         experts.swiglu_beta == 0.0 && std::isinf(experts.swiglu_limit) && bank.bias1 == nullptr;
}

Flow LoadedLayer::flow(std::int64_t tokens) const {
  return choose_flow({tokens, spec.router.num_experts, bank.routed.bytes1() + bank.routed.bytes2(),
                      spec.router.apply_router_weight_on_input});
}

Call make_call(const LoadedLayer& layer, std::int64_t tokens, Workspace& workspace) {
  const RouterSpec& router = layer.spec.router;
  const FfnTile tile =
      choose_ffn({tokens, router.top_k, router.num_experts, layer.spec.experts.hidden_size,
                  layer.bank.routed.width, layer.plain()});
  Call call;
  call.flow = layer.flow(tokens);
  const Sizes sizes(layer, call.flow, tile, tokens);
  call.routing = routing_of(layer, tokens);
  call.plan = plan_of(layer, sizes, workspace);
  if (layer.bank.router_weight != nullptr) {
    call.logits = workspace.take<float>(tokens * router.num_experts).data();
  }
  call.staging = staging_of(layer, call.flow, sizes, workspace);
  if (call.flow == Flow::planned) {  // the others' FFN does not wait for a plan
    call.ahead = {layer.bank.weights1,
                  prefetch_bytes(sizes.slots, layer.spec.experts.hidden_size,
                                 layer.bank.routed.bytes1() * layer.bank.local_experts)};
  }
  call.ffn = ffn_of(layer, sizes, call.staging, tile, workspace);
  call.last = combine_of(layer, call.ffn, call.staging);
  return call;
}

void bind(Call& call, const ForwardInput& input, const ForwardOutput& output,
          const Counted& counted) {
  call.plan.token_count = counted.tokens;
  call.plan.first_token = static_cast<int>(counted.first);
  call.ffn.plan = call.plan;
  Routing& routing = call.routing;
  const bool own_logits = input.router_logits.empty() && input.topk_ids.empty();
  routing.logits = own_logits ? call.logits : input.router_logits.data;
  routing.logits_dtype = own_logits ? DType::f32 : input.router_logits.dtype;
  routing.given_ids = input.topk_ids.data;
  routing.given_ids_dtype = input.topk_ids.dtype;
  routing.given_weights = input.topk_weights.data;
  routing.given_weights_dtype = input.topk_weights.dtype;
  routing.ids_out = static_cast<std::int32_t*>(output.topk_ids.data);
  routing.weights_out = static_cast<float*>(output.topk_weights.data);
  call.staging.hidden_states = input.hidden_states.data;
  call.staging.dtype = input.hidden_states.dtype;
  call.last.output = output.output.data;
  call.last.dtype = output.output.dtype;
}

}  // namespace sluice::cuda
