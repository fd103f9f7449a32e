// The contract around forward: who owns memory, what may be left out, what may lie where, and that
// layers and calls know nothing of each other.
#include <fmt/format.h>

#include "audit/cases/draw_spec.hpp"
#include "audit/checks/check.hpp"
#include "base/aligned_buffer.hpp"

namespace sluice::auditing {
namespace {

constexpr std::string_view kUsual[] = {"random", "hot-expert", "given"};

// A tensor's bytes at an odd address.
class OddCopy {
 public:
  explicit OddCopy(const TensorView& view)
      : bytes_(static_cast<std::size_t>(view.shape.elements() * bits(view.dtype) / 8)),
        memory_(bytes_ + 1) {
    if (view.data != nullptr && bytes_ > 0) std::memcpy(data(), view.data, bytes_);
  }
  std::byte* data() { return memory_.data() + 1; }

 private:
  std::size_t bytes_;
  AlignedBuffer memory_;
};

class OddCopies {
 public:
  TensorView operator()(TensorView view) {
    if (view) view.data = copies_.emplace_back(std::make_unique<OddCopy>(view))->data();
    return view;
  }
  ExpertMatrices operator()(ExpertMatrices matrices) {
    for (TensorView& matrix : matrices) matrix = (*this)(matrix);
    return matrices;
  }

 private:
  std::vector<std::unique_ptr<OddCopy>> copies_;
};

// Only what lies elsewhere differs: the layer is the same, and so is its truth.
void judge_variant(Context& context, const PreparedPtr& prepared, const RunResult& result,
                   CompareOptions how, std::string_view what, char bug_class) {
  if (context.judge(prepared, result, how)) return;
  Finding& finding = context.findings.back();
  finding.exactness = false;  // a plain run of the case need not show it
  finding.bug_class = bug_class;
  finding.comparison.message = fmt::format("{}: {}", what, finding.comparison.message);
}

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

void check_routing_not_asked(Context& context, const PreparedPtr& prepared) {
  RunOptions run = context.run;
  run.report_routing = false;
  CompareOptions how = context.compare_options();
  how.reports_routing = false;
  judge_variant(context, prepared, run_case(context.backend, prepared->subject, run), how,
                "without topk_ids and topk_weights among the outputs", 'J');
}

// Views promise no alignment: safetensors files have none.
void check_odd_addresses(Context& context, const PreparedPtr& prepared) {
  const Case& subject = prepared->subject;
  OddCopies odd;
  MoeWeights weights = subject.weights();
  for (TensorView MoeWeights::*member :
       {&MoeWeights::router_bias, &MoeWeights::e_score_correction_bias, &MoeWeights::gate_up_bias,
        &MoeWeights::down_bias, &MoeWeights::shared_gate_up_proj, &MoeWeights::shared_down_proj,
        &MoeWeights::shared_expert_gate, &MoeWeights::gate_up_global_scale,
        &MoeWeights::down_global_scale}) {
    weights.*member = odd(weights.*member);
  }
  for (ExpertMatrices MoeWeights::*member : {&MoeWeights::gate_up_proj, &MoeWeights::down_proj,
                                             &MoeWeights::gate_up_scale, &MoeWeights::down_scale}) {
    weights.*member = odd(weights.*member);
  }
  const SharedCase loaded(context.backend, subject.spec, weights, context.run);
  const ForwardInput given = subject.input();
  const ForwardInput input{odd(given.hidden_states), odd(given.router_logits), odd(given.topk_ids),
                           odd(given.topk_weights)};
  judge_variant(context, prepared, loaded.run(subject, input), context.compare_options(),
                "with every tensor at an odd address", 'O');
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
      for (const auto part : {check_weights_freed, check_gate_and_up_apart, check_routing_not_asked,
                              check_odd_addresses}) {
        if (context.done()) return;
        part(context, prepared);
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
