#include "backends/cuda/cuda_experts.hpp"

#include <algorithm>

#include "backends/cuda/device/device.hpp"
#include "backends/cuda/device/error.hpp"
#include "backends/cuda/few/few.hpp"
#include "base/fail.hpp"
#include "base/token_rows.hpp"

namespace sluice::cuda {
namespace {

// More tokens go through in pieces of this many: it bounds the workspace, and at this size the
// weights that are read again cost a few percent at most.
constexpr std::int64_t kChunkTokens = 16384;

void check_aligned(const char* name, const void* data, std::uintptr_t alignment) {
  if (reinterpret_cast<std::uintptr_t>(data) % alignment == 0) return;
  fail(ErrorKind::user,
       "{} is at {}, which is not a multiple of {}; backend cuda reads and writes so many bytes "
       "at a time: give a buffer aligned to them",
       name, data, alignment);
}

void check_aligned(const ForwardInput& input, const ForwardOutput& output) {
  check_aligned("hidden_states", input.hidden_states.data, 16);
  check_aligned("output", output.output.data, 16);
  const auto elements = [](const char* name, const auto& tensor) {
    if (tensor)
      check_aligned(name, tensor.data, static_cast<std::uintptr_t>(bits(tensor.dtype) / 8));
  };
  elements("router_logits", input.router_logits);
  elements("topk_ids", input.topk_ids);
  elements("topk_weights", input.topk_weights);
  elements("token_count", input.token_count);
  elements("the topk_ids of the results", output.topk_ids);
  elements("the topk_weights of the results", output.topk_weights);
}

}  // namespace

CudaExperts::CudaExperts(const MoeSpec& spec, const MoeWeights& weights, const LoadOptions& options)
    : spec_(spec),
      device_(options.device),
      round_slots_(options.may_round_slot_outputs),
      bank_(spec, weights, options.device) {}

OneTokenSizes CudaExperts::one_token_sizes() const {
  return {multiprocessors(), spec_.router.top_k, spec_.experts.hidden_size,
          bank_.routed.rows1() / kStripRows,
          bank_.shared.width > 0 ? bank_.shared.rows1() / kStripRows : 0};
}

std::size_t CudaExperts::workspace_bytes(std::int64_t tokens) const {
  if (tokens == 0) return 0;
  const auto bytes = [&](std::int64_t count) {
    Workspace counted;
    make_call(layer(), count, counted);
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
  check_aligned(input, output);
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
  Workspace workspace(memory);
  Call call = make_call(layer(), input.hidden_states.shape[0], workspace);
  bind(call, input, output, counted);
  if (input.router_logits.empty() && input.topk_ids.empty()) {
    RouterLogits own;
    own.hidden_states = input.hidden_states.data;
    own.dtype = input.hidden_states.dtype;
    own.weight = bank_.router_weight;
    own.weight_dtype = bank_.router_dtype;
    own.tokens = call.plan.tokens;
    own.experts = static_cast<int>(spec_.router.num_experts);
    own.hidden = call.staging.hidden;
    own.logits = call.logits;
    router_logits(own, stream);
  }
  if (call.plan.tokens == 1 && call.ffn.plain && !call.staging.weight_on_input) {
    const OneTokenSizes sizes = one_token_sizes();
    if (up_stages(sizes) > 0) {
      return run_one_token({call.routing, call.plan, call.staging, call.ffn.routed, call.ffn.shared,
                            call.ffn.tiles2, call.last},
                           sizes, stream);
    }
  }
  switch (call.flow) {
    case Flow::dense:
      stage_dense(call.routing, call.plan, call.staging, stream);
      run_dense_ffn(call.ffn, call.routing, stream);
      return combine_dense(call.last, call.plan, call.routing, stream);
    case Flow::sorted:
      clear_counters(call.plan, stream);
      stage_sorted(call.routing, call.plan, call.staging, stream);
      run_sorted_ffn(call.ffn, call.routing, stream);
      break;
    case Flow::planned:
      route(call.routing, call.plan, call.ahead, stream);
      place(call.plan, call.staging, stream);
      run_ffn(call.ffn, stream);
  }
  combine(call.last, call.plan, stream);
}

}  // namespace sluice::cuda
