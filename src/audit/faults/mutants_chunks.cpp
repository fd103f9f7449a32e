// P: chunks of tokens and their tails.
#include <algorithm>

#include "audit/faults/mutant_tables.hpp"
#include "audit/faults/reroute.hpp"
#include "audit/faults/split_run.hpp"

namespace sluice::auditing {
namespace {

// Tokens [first, end) of the call, as a call of its own.
Call part_of(const Call& call, std::int64_t first, std::int64_t end) {
  const auto rows = [=](auto view) {
    if (!view) return view;
    const std::int64_t columns = view.shape[1];
    using Pointer = decltype(view.data);
    const auto offset = first * columns * bits(view.dtype) / 8;
    if constexpr (std::is_same_v<Pointer, void*>) {
      view.data = static_cast<std::byte*>(view.data) + offset;
    } else {
      view.data = static_cast<const std::byte*>(view.data) + offset;
    }
    view.shape = {end - first, columns};
    return view;
  };
  Call part = call;
  part.input = {rows(call.input.hidden_states), rows(call.input.router_logits),
                rows(call.input.topk_ids), rows(call.input.topk_weights)};
  part.output = {rows(call.output.output), rows(call.output.topk_ids),
                 rows(call.output.topk_weights)};
  return part;
}

}  // namespace

void add_chunk_mutants(std::vector<Mutant>& list) {
  const Adder add{list, 'P'};
  add("tail-chunk-reads-head", "the last chunk of 64 tokens read the first chunk's hidden states",
      "vllm#20392", on_forward([](Call& call) {
        constexpr std::int64_t kChunk = 64;
        const std::int64_t tail = call.tokens() / kChunk * kChunk;
        if (tail == 0 || tail == call.tokens()) return call.forward();
        OwnedTensor hidden = OwnedTensor::copy_of(call.input.hidden_states);
        const std::int64_t width = hidden.shape()[1];
        for (std::int64_t i = tail * width; i < hidden.elements(); ++i) {
          hidden.set(i, hidden.get(i - tail * width));
        }
        call.input.hidden_states = hidden.view();
        call.forward();
      }));
  add("tail-chunk-skipped", "tokens after the last whole chunk of 32 were zero", "vllm#20392",
      on_forward([](Call& call) {
        const std::int64_t tail = call.tokens() / 32 * 32;
        const auto width = static_cast<std::size_t>(call.spec.experts.hidden_size);
        edit_output(call, [&](std::span<float> out) {
          if (tail == 0) return;
          std::fill(
              out.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(tail) * width),
              out.end(), 0.0f);
        });
      }));
  add("shared-input-not-chunked", "every chunk of 16 used the first chunk's shared experts",
      "vllm#34379", on_forward([](Call& call) {
        constexpr std::size_t kChunk = 16;
        if (call.spec.layer.num_shared_experts == 0 || call.tokens() == 0) return call.forward();
        Parts parts = run_parts(call);
        const auto width = static_cast<std::size_t>(call.spec.experts.hidden_size);
        for (std::size_t i = 0; i < parts.routed.size(); ++i) {
          parts.routed[i] += parts.shared[i % (kChunk * width)];
        }
        write_output(call, parts.routed);
      }));
  add("chunk-routing-not-advanced", "every chunk of 32 used the first chunk's routing",
      "vllm#20392", on_forward([](Call& call) {
        constexpr std::int64_t kChunk = 32;
        for (std::int64_t first = 0; first < call.tokens(); first += kChunk) {
          const std::int64_t end = std::min(first + kChunk, call.tokens());
          Call part = part_of(call, first, end);
          const Call head = part_of(call, 0, end - first);
          part.input.router_logits = head.input.router_logits;
          part.input.topk_ids = head.input.topk_ids;
          part.input.topk_weights = head.input.topk_weights;
          part.forward();
        }
        if (call.tokens() == 0) call.forward();
      }));
}

}  // namespace sluice::auditing
