// O: races, state between calls, inputs that are written to.
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <mutex>
#include <thread>

#include "audit/faults/mutant_tables.hpp"
#include "audit/faults/reroute.hpp"
#include "audit/faults/split_run.hpp"

namespace sluice::auditing {
namespace {

std::mutex& scratch_mutex() {
  static std::mutex mutex;
  return mutex;
}

}  // namespace

void add_race_mutants(std::vector<Mutant>& list) {
  const Adder add{list, 'O'};
  add("every-third-call-differs", "a race changed one token of every third call", "flashinfer#5438",
      [](const MoeSpec&, const MoeWeights&) {
        Fault fault;
        const auto calls = std::make_shared<std::atomic<int>>(0);
        fault.forward = [calls](Call& call) {
          const bool raced = ++*calls % 3 == 0;
          edit_output(call, [raced](std::span<float> out) {
            if (raced && !out.empty()) out.front() *= 1.0078125f;
          });
        };
        return fault;
      });
  add("shared-scratch", "two calls at once used the same scratch", "flashinfer#4027",
      [](const MoeSpec&, const MoeWeights&) {
        Fault fault;
        const auto scratch = std::make_shared<OwnedTensor>();
        // The two halves are locked one by one, as if by two kernels on one buffer: no data race
        // for a sanitizer, and still the wrong rows.
        fault.forward = [scratch](Call& call) {
          if (call.tokens() == 0) return call.forward();
          {
            const std::lock_guard lock(scratch_mutex());
            *scratch = OwnedTensor::copy_of(call.input.hidden_states);
          }
          std::this_thread::sleep_for(std::chrono::milliseconds(2));
          OwnedTensor hidden;
          {
            const std::lock_guard lock(scratch_mutex());
            hidden = *scratch;
          }
          if (hidden.shape() == call.input.hidden_states.shape) {
            call.input.hidden_states = hidden.view();
          }
          call.forward();
        };
        return fault;
      });
  add("hidden-overwritten", "hidden_states were overwritten in place", "vllm#28942",
      on_forward([](Call& call) {
        call.forward();
        if (call.tokens() == 0) return;
        auto* hidden = const_cast<void*>(call.input.hidden_states.data);
        std::memset(hidden, 0, 2);
      }));
  add("shared-reads-routed-output",
      "the shared experts read hidden_states after they were overwritten", "vllm#28942",
      on_forward([](Call& call) {
        if (call.tokens() == 0 || call.spec.layer.num_shared_experts == 0) return call.forward();
        const Parts first = run_parts(call);
        OwnedTensor mixed(call.input.hidden_states.dtype, call.input.hidden_states.shape);
        for (std::size_t i = 0; i < first.routed.size(); ++i) {
          mixed.set(static_cast<std::int64_t>(i), first.routed[i]);
        }
        Call second = call;
        OwnedTensor output(call.output.output.dtype, call.output.output.shape);
        second.output = {output.mutable_view(), {}, {}};
        second.input.hidden_states = mixed.view();
        const Parts later = run_parts(second);
        std::vector<float> out = first.routed;
        for (std::size_t i = 0; i < out.size(); ++i) out[i] += later.shared[i];
        write_output(call, out);
      }));
  add("batch-dependent-rounding", "a token's bits depended on how many tokens came with it",
      "sglang#33764", on_forward([](Call& call) {
        const std::int64_t tokens = call.tokens();
        edit_output(call, [tokens](std::span<float> out) {
          if (tokens % 2 == 1) return;
          // Within any bound: the last bit of an fp32 output.
          for (float& value : out) value = std::nextafterf(value, 2.0f * value);
        });
      }));
}

}  // namespace sluice::auditing
