// J: padding and unwritten memory. K: zero tokens. L: sizes. O: races and in-place. P: chunk
// tails. Q: silent substitution.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <limits>
#include <mutex>
#include <thread>

#include "audit/faults/edit_weights.hpp"
#include "audit/faults/mutant_tables.hpp"
#include "audit/faults/overruns.hpp"
#include "audit/faults/reroute.hpp"
#include "audit/faults/split_run.hpp"
#include "base/fail.hpp"

namespace sluice::auditing {
namespace {

std::size_t row_bytes(const MutableTensorView& output) {
  return static_cast<std::size_t>(output.shape[1] * bits(output.dtype) / 8);
}

std::byte* row(const MutableTensorView& output, std::int64_t token) {
  return static_cast<std::byte*>(output.data) + static_cast<std::size_t>(token) * row_bytes(output);
}

// Runs the call, then puts back what rows [first, end) held before.
void leave_unwritten(Call& call, std::int64_t first, std::int64_t end) {
  const OwnedTensor before = OwnedTensor::copy_of(call.output.output);
  call.forward();
  if (first >= end) return;
  const std::size_t bytes = row_bytes(call.output.output);
  std::memcpy(row(call.output.output, first),
              before.data() + static_cast<std::size_t>(first) * bytes,
              static_cast<std::size_t>(end - first) * bytes);
}

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

struct Adder {
  std::vector<Mutant>& list;
  char bug_class;
  void operator()(std::string_view name, std::string_view meaning, std::string_view cases,
                  MakeFault make) const {
    list.push_back({{name, bug_class, meaning, cases}, std::move(make), {}});
  }
};

constexpr std::size_t kExtra = 256;

void add_padding(std::vector<Mutant>& list) {
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
        std::memset(row(call.output.output, call.tokens()), 0, 16);
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

void add_sizes(std::vector<Mutant>& list) {
  const Adder zero{list, 'K'};
  zero("zero-tokens-throw", "zero tokens were an error", "sglang#38773, Megatron-LM#3626",
       on_forward([](Call& call) {
         if (call.tokens() == 0) fail(ErrorKind::user, "no tokens");
         call.forward();
       }));
  zero("zero-tokens-write", "zero tokens wrote a row", "sglang#22455", on_forward([](Call& call) {
         call.forward();
         if (call.tokens() == 0) std::memset(call.output.output.data, 0, 16);
       }));
  zero("zero-tokens-need-workspace", "zero tokens needed a workspace of 2^63 bytes", "sglang#38773",
       [](const MoeSpec&, const MoeWeights&) {
         Fault fault;
         fault.workspace_bytes = [](std::size_t bytes, std::int64_t tokens) {
           return tokens == 0 ? std::size_t{1} << 63 : bytes;
         };
         return fault;
       });

  const Adder large{list, 'L'};
  large("workspace-in-32-bits", "workspace sizes were computed in 32 bits", "flashinfer#2853",
        [](const MoeSpec& asked, const MoeWeights&) {
          Fault fault;
          const std::int64_t row = 2 * asked.router.top_k * asked.experts.hidden_size;
          fault.workspace_bytes = [row](std::size_t bytes, std::int64_t tokens) {
            return bytes + static_cast<std::uint32_t>(tokens * row);
          };
          fault.forward = [](Call& call) {
            call.workspace = call.workspace.first(call.inner.workspace_bytes(call.tokens()));
            call.forward();
          };
          return fault;
        });
  large("expert-offset-in-32-bits", "distances between expert matrices were kept in 32 bits",
        "Liger-Kernel#1248, Liger-Kernel#1296", [](const MoeSpec&, const MoeWeights&) {
          Fault fault;
          fault.load = [](Load& load) {
            ExpertMatrices& down = load.weights.down_proj;
            for (TensorView& matrix : down) {
              const auto distance = static_cast<const std::byte*>(matrix.data) -
                                    static_cast<const std::byte*>(down.front().data);
              // Within 2 GiB nothing happens; beyond it the truncated distance would be read, which
              // here stands for the first expert: a wild pointer is no test.
              if (distance != static_cast<std::int32_t>(distance)) matrix = down.front();
            }
          };
          return fault;
        });
  large("grid-limit", "tokens beyond 65535 were not computed", "vllm#43599, vllm#34279, vllm#50220",
        on_forward([](Call& call) { leave_unwritten(call, 65535, call.tokens()); }));
}

std::mutex& scratch_mutex() {
  static std::mutex mutex;
  return mutex;
}

void add_races(std::vector<Mutant>& list) {
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

void add_chunks(std::vector<Mutant>& list) {
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

void add_substitutions(std::vector<Mutant>& list) {
  const Adder add{list, 'Q'};
  add("substitutes-plain-layer", "every field were neutral: another backend ran instead",
      "TensorRT-LLM#15861", [](const MoeSpec&, const MoeWeights&) {
        Fault fault;
        fault.load = [](Load& load) {
          const MoeSpec before = load.spec;
          MoeSpec plain;
          plain.router.num_experts = before.router.num_experts;
          plain.router.top_k = before.router.top_k;
          plain.router.apply_router_weight_on_input = before.router.apply_router_weight_on_input;
          load.spec.router = plain.router;
          fit_weights(load, before);
        };
        return fault;
      });
  list.push_back(
      {{"claims-then-refuses", 'Q',
        "routed_scaling_factor were claimed and every value but 1 refused",
        "vllm#46838 (a tuning bound taken for a limit)"},
       {},
       [](const Backend& inner, const MoeSpec& spec) {
         Support support = inner.supports(spec);
         if (spec.router.routed_scaling_factor != 1.0) {
           support.refusals.push_back({"router.routed_scaling_factor", "is not 1: not tuned for"});
         }
         return support;
       }});
  list.push_back({{"accepts-then-throws", 'Q', "load threw for a layer that supports() accepted",
                   "TensorRT-LLM#15861"},
                  [](const MoeSpec& asked, const MoeWeights&) {
                    Fault fault;
                    fault.load = [hidden = asked.experts.hidden_size](Load&) {
                      if (hidden % 128 != 0) {
                        fail(ErrorKind::device, "hidden_size {} is not a multiple of 128", hidden);
                      }
                    };
                    return fault;
                  },
                  {}});
}

}  // namespace

bool writes_outside_its_buffers(std::string_view fault) {
  constexpr std::array<std::string_view, 3> kOverruns{"output-overrun", "workspace-overrun",
                                                      "zero-tokens-write"};
  return std::ranges::find(kOverruns, fault) != kOverruns.end();
}

void add_memory_mutants(std::vector<Mutant>& list) {
  add_padding(list);
  add_sizes(list);
  add_races(list);
  add_chunks(list);
  add_substitutions(list);
}

}  // namespace sluice::auditing
