// J: padding and memory that nobody wrote, or somebody else did.
#include <algorithm>
#include <array>
#include <cstring>

#include "audit/faults/mutant_tables.hpp"
#include "audit/faults/overruns.hpp"
#include "audit/faults/part_of_output.hpp"
#include "audit/faults/reroute.hpp"

namespace sluice::auditing {
namespace {

constexpr std::size_t kExtra = 256;

}  // namespace

void add_memory_mutants(std::vector<Mutant>& list) {
  const Adder add{list, 'J'};
  add("last-tile-unwritten", "the last partial tile of 16 tokens were never written", "aiter#3538",
      on_forward(
          [](Call& call) { leave_unwritten(call, call.tokens() / 16 * 16, call.tokens()); }));
  add("last-token-unwritten", "the last token of more than one were never written", "aiter#3538",
      on_forward([](Call& call) {
        leave_unwritten(call, call.tokens() > 1 ? call.tokens() - 1 : 1, call.tokens());
      }));
  add("stale-workspace", "the workspace were read before it was written", "aiter#5413, vllm#45707",
      [](const MoeSpec&, const MoeWeights&) {
        Fault fault;
        fault.workspace_bytes = [](std::size_t bytes, std::int64_t) { return bytes + kExtra; };
        fault.forward = [](Call& call) {
          float stale = 0.0f;
          std::memcpy(&stale, call.workspace.data() + call.workspace.size() - kExtra, sizeof stale);
          call.workspace = call.workspace.first(call.workspace.size() - kExtra);
          edit_output(call, [stale](std::span<float> out) {
            if (!out.empty()) out.back() += stale;
          });
        };
        return fault;
      });
  add("workspace-outlives-call", "scratch of the last call were believed to be zero",
      "aiter#5413, flashinfer#4027", [](const MoeSpec&, const MoeWeights&) {
        Fault fault;
        fault.workspace_bytes = [](std::size_t bytes, std::int64_t) { return bytes + kExtra; };
        fault.forward = [](Call& call) {
          std::byte* mine = call.workspace.data() + call.workspace.size() - kExtra;
          std::uint32_t count = 0;
          std::memcpy(&count, mine, sizeof count);
          const std::uint32_t next = 1;
          std::memcpy(mine, &next, sizeof next);
          call.workspace = call.workspace.first(call.workspace.size() - kExtra);
          // One token of the second and every later call over the same memory.
          if (count != 1) return call.forward();
          edit_output(call, [](std::span<float> out) {
            if (!out.empty()) out.front() *= 1.5f;
          });
        };
        return fault;
      });
  add("output-accumulated", "the output were added to what the buffer held", "vllm#39645",
      on_forward([](Call& call) {
        const OwnedTensor before = OwnedTensor::copy_of(call.output.output);
        edit_output(call, [&](std::span<float> out) {
          for (std::size_t i = 0; i < out.size(); ++i) {
            out[i] += before.get(static_cast<std::int64_t>(i));
          }
        });
      }));
  add("output-zero", "every output were zero", "flashinfer#3547, aiter#3538",
      on_forward([](Call& call) {
        edit_output(call, [](std::span<float> out) { std::fill(out.begin(), out.end(), 0.0f); });
      }));
  add("output-overrun", "a tile were written past the end of the output", "vllm#39645",
      on_forward([](Call& call) {
        call.forward();
        if (call.tokens() % 16 == 0) return;
        std::memset(output_row(call.output.output, call.tokens()), 0, 16);
      }));
  add("workspace-overrun", "more workspace were written than was asked for", "flashinfer#4027",
      on_forward([](Call& call) {
        call.forward();
        if (call.tokens() > 0) std::memset(call.workspace.data() + call.workspace.size(), 0, 16);
      }));
  add("ids-unwritten", "topk_ids were not written for the last token", "vllm#45707",
      on_forward([](Call& call) {
        if (call.tokens() < 2 || !call.output.topk_ids) return call.forward();
        const OwnedTensor before = OwnedTensor::copy_of(call.output.topk_ids);
        call.forward();
        const auto top_k = static_cast<std::size_t>(call.spec.router.top_k);
        const std::size_t bytes = top_k * sizeof(std::int32_t);
        std::memcpy(
            static_cast<std::byte*>(call.output.topk_ids.data) + before.size_bytes() - bytes,
            before.data() + before.size_bytes() - bytes, bytes);
      }));
}

bool writes_outside_its_buffers(std::string_view fault) {
  constexpr std::array<std::string_view, 3> kOverruns{"output-overrun", "workspace-overrun",
                                                      "zero-tokens-write"};
  return std::ranges::find(kOverruns, fault) != kOverruns.end();
}

}  // namespace sluice::auditing
