// The contract around forward: who owns memory, what may be left out, what may lie where, and that
// layers and calls know nothing of each other.
#include <fmt/format.h>

#include <cstring>
#include <limits>

#include "audit/cases/draw_spec.hpp"
#include "audit/cases/stored_forms.hpp"
#include "audit/checks/buffers.hpp"

namespace sluice::auditing {
namespace {

constexpr std::string_view kUsual[] = {"random", "hot-expert", "given"};

// load packs or copies what it needs: the caller's tensors stay as they are, and may go.
void check_weights_freed(Context& context, const PreparedPtr& prepared) {
  Case mine = prepared->subject;
  const SharedCase loaded(context.backend, mine, context.run);
  for (auto& [name, tensor] : mine.tensors) {
    if (is_input(name) || tensor.size_bytes() == 0) continue;
    if (!same_bits(tensor, *prepared->subject.find(name))) {
      return context.complain(prepared, Stage::load,
                              fmt::format("load changed {}; weights are read-only", name), 'O');
    }
    std::memset(tensor.data(), 0xff, tensor.size_bytes());
  }
  judge_variant(context, prepared, loaded.run(prepared->subject), context.compare_options(),
                "with the caller's weights freed after load, which must have packed or copied them",
                'O');
}

// A second layer of the same spec from the same memory: an address says nothing of what lies there.
void check_weights_replaced(Context& context, const PreparedPtr& prepared) {
  Case mine = prepared->subject;
  const SharedCase first(context.backend, mine, context.run);
  const Case others = plain_case(mine.spec, mine.seed + kFormPeriod, 1);
  for (const char* name : {"gate_up_proj", "down_proj", "gate_up_scale", "down_scale",
                           "gate_up_global_scale", "down_global_scale"}) {
    const auto found = mine.tensors.find(name);
    if (found == mine.tensors.end() || found->second.size_bytes() == 0) continue;
    std::memcpy(found->second.data(), others.find(name)->data(), found->second.size_bytes());
  }
  const SharedCase second(context.backend, mine, context.run);
  const RunResult before = first.run(prepared->subject);
  const RunResult after = second.run(prepared->subject);
  const auto alone = [&](const Case& subject) {
    return run_case(context.backend, subject, context.run);
  };
  const Case copy = mine;  // elsewhere
  if (same_bits(after, alone(copy)) && same_bits(before, alone(prepared->subject))) return;
  context.complain(prepared, Stage::load,
                   "two layers were loaded from the same memory with other weights in it, and one "
                   "gives other bits than alone",
                   'O');
}

// Tokens of padding that nobody wrote leave nothing behind for the next call.
void check_after_no_number(Context& context, const PreparedPtr& prepared) {
  const Case& subject = prepared->subject;
  const SharedCase loaded(context.backend, subject, context.run);
  Case padding = rows_of(subject, 0, subject.tokens());
  OwnedTensor& hidden = padding.tensors["hidden_states"];
  for (std::int64_t i = 0; i < hidden.elements(); ++i) {
    hidden.set(i, std::numeric_limits<float>::quiet_NaN());
  }
  loaded.run(padding);
  if (same_bits(loaded.run(subject), run_case(context.backend, subject, context.run))) return;
  context.complain(prepared, Stage::repeat,
                   "a call after one whose tokens were NaN gives other bits than alone", 'O');
}

bool is_plain(WeightFormat format) {
  return format == WeightFormat::bf16 || format == WeightFormat::f32 || format == WeightFormat::f16;
}

// Checkpoints hold gate and up stacked or apart: MoeWeights takes both.
void check_gate_and_up_apart(Context& context, const PreparedPtr& prepared) {
  const ExpertSpec& spec = prepared->subject.spec.experts;
  if (!is_gated(spec.activation) || spec.gate_up_order != GateUpOrder::gate_up ||
      !is_plain(spec.weight_format)) {
    return;
  }
  MoeWeights weights = prepared->subject.weights();
  const auto half = [](TensorView matrix, std::int64_t which) {
    const std::int64_t rows = matrix.shape[0] / 2;
    const std::int64_t bytes = rows * matrix.shape[1] * bits(matrix.dtype) / 8;
    matrix.data = static_cast<const std::byte*>(matrix.data) + which * bytes;
    matrix.shape = {rows, matrix.shape[1]};
    return matrix;
  };
  for (const TensorView& matrix : weights.gate_up_proj) {
    weights.gate_proj.push_back(half(matrix, 0));
    weights.up_proj.push_back(half(matrix, 1));
  }
  weights.gate_up_proj.clear();
  if (weights.shared_gate_up_proj) {
    weights.shared_gate_proj = half(weights.shared_gate_up_proj, 0);
    weights.shared_up_proj = half(weights.shared_gate_up_proj, 1);
    weights.shared_gate_up_proj = {};
  }
  const SharedCase loaded(context.backend, prepared->subject.spec, weights, context.run);
  judge_variant(context, prepared, loaded.run(prepared->subject), context.compare_options(),
                "with gate_proj and up_proj given apart", 'I');
}

// What one layer was loaded with is no business of the next, nor what a buffer held before.
void check_apart(Context& context, const PreparedPtr& first, const PreparedPtr& second) {
  const RunResult alone = run_case(context.backend, first->subject, context.run);
  const auto one = std::make_unique<SharedCase>(context.backend, first->subject, context.run);
  auto two = std::make_unique<SharedCase>(context.backend, second->subject, context.run);
  two->run(second->subject);
  const auto disturbed = [&](const RunResult& now, std::string_view what) {
    if (same_bits(alone, now)) return false;
    context.complain(first, Stage::repeat, fmt::format("{} gives other bits than alone", what),
                     'O');
    return true;
  };
  if (disturbed(one->run(first->subject), "a layer used after another one was loaded")) return;
  two.reset();
  if (disturbed(one->run(first->subject), "a layer used after another one was unloaded")) return;

  // Other tokens at the same addresses.
  const std::int64_t half = first->subject.tokens() / 2;
  if (half == 0) return;
  Case moving = rows_of(first->subject, 0, half);
  one->run(moving);
  const Case next = rows_of(first->subject, half, 2 * half);
  for (auto& [name, tensor] : moving.tensors) {
    const OwnedTensor& bytes = *next.find(name);
    if (tensor.size_bytes() > 0) std::memcpy(tensor.data(), bytes.data(), tensor.size_bytes());
  }
  if (same_bits(one->run(moving), run_case(context.backend, next, context.run))) return;
  context.complain(first, Stage::repeat,
                   "other tokens at the addresses of the last call give other bits than alone",
                   'O');
}

// Nothing set: whatever one layer leaves behind for the next, this one shows it, or leaves it.
PreparedPtr neutral_case(Context& context) {
  const auto spec = context.bank.source().base({8, 3, 40, 48});
  if (context.bank.source().given || !spec || !accepts(context.backend, *spec)) return nullptr;
  return context.bank.of(fmt::format("calls neutral#{}", context.options.seed), [&] {
    Case made = plain_case(*spec, context.options.seed, 6);
    made.regime = "every field neutral";
    return made;
  });
}

struct Part {
  void (*run)(Context&, const PreparedPtr&);
  bool each_round;  // what a layer's fields can change; one layer shows the others
};

constexpr Part kParts[] = {{check_weights_freed, true},      {check_gate_and_up_apart, true},
                           {check_routing_not_asked, true},  {check_odd_addresses, true},
                           {check_weights_replaced, false},  {check_after_no_number, false},
                           {check_halves_of_routing, false}, {check_roomy_buffers, false}};

}  // namespace

void check_calls(Context& context) {
  const PreparedPtr neutral = neutral_case(context);
  PreparedPtr last;
  for (const Regime& regime : regimes()) {
    if (std::find(std::begin(kUsual), std::end(kUsual), regime.name) == std::end(kUsual)) continue;
    for (int round = 0; round < std::min(context.rounds, 4); ++round) {
      const PreparedPtr prepared = context.bank.of(regime, context.seed(round));
      if (!prepared) continue;
      const std::size_t before = context.findings.size();
      for (const Part& part : kParts) {
        if (context.done()) return;
        if (round == 0 || part.each_round) part.run(context, prepared);
      }
      for (const PreparedPtr& other : {last, neutral}) {
        if (!other || context.done()) continue;
        check_apart(context, prepared, other);
        check_apart(context, other, prepared);
      }
      last = prepared;
      // One failure of a regime says what all would say.
      if (context.findings.size() > before) return;
    }
  }
}

}  // namespace sluice::auditing
