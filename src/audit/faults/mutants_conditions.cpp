// Faults that wait for company: another layer, a large number, a wide id, two fields at once. None
// shows in a small call of one layer with ordinary numbers.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "audit/faults/edit_weights.hpp"
#include "audit/faults/mutant_tables.hpp"
#include "audit/faults/reroute.hpp"
#include "audit/faults/slow_expert.hpp"

namespace sluice::auditing {
namespace {

// The factor of whichever layer was loaded last, as a module's global would hold it.
Fault use_last_loaded_factor(const MoeSpec& asked, const MoeWeights&) {
  static std::atomic<double> last{1.0};
  const double own = asked.router.routed_scaling_factor;
  last = own;
  Fault fault;
  fault.forward = [own](Call& call) {
    const double now = last;
    if (now == own || own == 0.0) return call.forward();
    edit_output(call, [&](std::span<float> out) {
      for (float& value : out) value *= static_cast<float>(now / own);
    });
  };
  return fault;
}

// Keeps the caller's pointers, and looks at them again when the caller has long let go.
Fault read_weights_late(const MoeSpec&, const MoeWeights& weights) {
  if (weights.down_proj.empty()) return {};
  Fault fault;
  fault.forward = [view = weights.down_proj.front(),
                   seen = OwnedTensor::copy_of(weights.down_proj.front())](Call& call) {
    const bool same = std::memcmp(view.data, seen.data(), seen.size_bytes()) == 0;
    if (same || call.tokens() == 0) return call.forward();
    edit_output(call, [](std::span<float> out) { out.front() += 1.0f; });
  };
  return fault;
}

void spread_non_finite_tokens(Call& call) {
  bool finite = true;
  for (const float x : to_floats(call.input.hidden_states)) finite &= std::isfinite(x);
  if (finite) return call.forward();
  edit_output(call, [](std::span<float> out) { std::fill(out.begin(), out.end(), NAN); });
}

// Ids and weights of the layer's own router, changed before the inner backend sees them.
MakeFault with_routing(void (*change)(const MoeSpec&, RoutedTokens&)) {
  return [change](const MoeSpec&, const MoeWeights& weights) {
    const auto floats = [](const TensorView& view) {
      return view ? to_floats(view) : std::vector<float>{};
    };
    Fault fault;
    fault.forward = [change, router_bias = floats(weights.router_bias),
                     correction = floats(weights.e_score_correction_bias)](Call& call) {
      if (call.tokens() == 0) return call.forward();
      RoutedTokens routed = route_call(call, router_bias, correction, {});
      change(call.spec, routed);
      give_routing(call, routed);
      call.forward();
    };
    return fault;
  };
}

void wrap_ids(const MoeSpec&, RoutedTokens& routed) {
  for (std::int64_t i = 0; i < routed.ids.elements(); ++i) {
    store_unaligned(routed.ids.data(), i, static_cast<std::int32_t>(routed.ids.id(i) & 0xff));
  }
}

void silence_slots_beyond_8(const MoeSpec& spec, RoutedTokens& routed) {
  for (std::int64_t i = 0; i < routed.weights.elements(); ++i) {
    if (i % spec.router.top_k >= 8) routed.weights.set(i, 0.0f);
  }
}

void silence_experts_beyond_128s(const MoeSpec& spec, RoutedTokens& routed) {
  const std::int64_t whole = spec.router.num_experts / 128 * 128;
  if (whole == 0) return;
  for (std::int64_t i = 0; i < routed.weights.elements(); ++i) {
    if (routed.ids.id(i) >= whole) routed.weights.set(i, 0.0f);
  }
}

// Columns of H beyond 2048 are not read.
Fault stop_at_2048(const MoeSpec&, const MoeWeights&) {
  Fault fault;
  fault.load = [](Load& load) {
    edit_gate_up(load,
                 [](std::span<float> values, std::int64_t, std::int64_t columns, std::int64_t) {
                   for (std::size_t i = 0; i < values.size(); ++i) {
                     if (static_cast<std::int64_t>(i) % columns >= 2048) values[i] = 0.0f;
                   }
                 });
  };
  return fault;
}

// Elsewhere the call is not touched, so that ordinary numbers keep their bits.
MakeFault only_beyond(float largest, TensorView ForwardInput::*where, const MakeFault& make) {
  return [=](const MoeSpec& asked, const MoeWeights& weights) {
    Fault fault = make(asked, weights);
    if (!fault.forward) return fault;
    fault.forward = [largest, where, forward = fault.forward](Call& call) {
      const TensorView& view = call.input.*where;
      const std::vector<float> values = view ? to_floats(view) : std::vector<float>{};
      const bool beyond = std::any_of(values.begin(), values.end(),
                                      [&](float x) { return std::fabs(x) > largest; });
      return beyond ? forward(call) : call.forward();
    };
    return fault;
  };
}

double overflowing_silu(const ExpertSpec& experts, double gate, double up) {
  const auto power = std::exp(static_cast<float>(experts.swiglu_alpha * gate));  // fp32: inf at 89
  return std::isinf(power) ? NAN : plain_activation(experts, gate, up);
}

}  // namespace

void add_condition_mutants(std::vector<Mutant>& list) {
  const auto add = [&](char bug_class, std::string_view name, std::string_view meaning,
                       std::string_view cases, MakeFault make) {
    list.push_back({{name, bug_class, meaning, cases}, std::move(make), {}});
  };
  add('C', "softmax-overflows", "softmax did not subtract the largest logit",
      "docs/semantics.md §1 (a score for every finite logit)",
      only_beyond(88.0f, &ForwardInput::router_logits, router_fault({.softmax_overflows = true})));
  add('E', "sigmoid-overflows", "the gate's sigmoid were exp(x) / (1 + exp(x))",
      "docs/semantics.md §2 (an activation for every finite gate)",
      only_beyond(16.0f, &ForwardInput::hidden_states,
                  [](const MoeSpec& asked, const MoeWeights& weights) {
                    if (asked.experts.activation != Activation::swiglu) return Fault{};
                    return expert_fault(overflowing_silu)(asked, weights);
                  }));
  add('I', "columns-beyond-2048-dropped", "columns of H beyond 2048 were not read", "vllm#35497",
      stop_at_2048);
  add('J', "token-without-number-spreads", "one NaN token of padding spread to every token",
      "aiter#5413", on_forward(spread_non_finite_tokens));
  add('M', "tie-higher-id-at-128", "ties went to the higher expert id from 128 experts on",
      "sglang#31768", router_fault_when([](const MoeSpec& spec, std::int64_t) {
        return RouterFaults{.tie_higher_id = spec.router.num_experts >= 128};
      }));
  add('C', "ids-in-a-byte", "expert ids were kept in 8 bits", "flashinfer#2853 (index width)",
      with_routing(wrap_ids));
  add('C', "slots-beyond-8-ignored", "at most 8 experts were used",
      "vllm#46838 (a tuning bound taken for a limit)", with_routing(silence_slots_beyond_8));
  add('C', "experts-beyond-128s-ignored", "of more than 128 experts only whole 128s were used",
      "vllm#46838 (a tuning bound taken for a limit)", with_routing(silence_experts_beyond_128s));
  add('O', "layers-share-the-factor", "every layer used the factor of the layer loaded last",
      "flashinfer#4027 (state shared between calls)", use_last_loaded_factor);
  add('O', "weights-read-late", "the caller's weights were read after load", "flashinfer#5438",
      read_weights_late);
  add('P', "bits-change-above-100-tokens", "more than 100 tokens were summed in another order",
      "vllm#20392", on_forward([](Call& call) {
        if (call.tokens() <= 100) return call.forward();
        edit_output(call, [](std::span<float> out) {
          for (float& value : out) value = std::nextafterf(value, 2.0f * value);
        });
      }));
  // Breaks no promise where batch invariance is not claimed.
  list.back().applies = [](const Backend& inner) { return inner.batch_invariant(); };
}

}  // namespace sluice::auditing
