#include "audit/checks/buffers.hpp"

#include <fmt/format.h>

#include <cstring>
#include <tuple>

#include "base/aligned_buffer.hpp"

namespace sluice::auditing {
namespace {

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

}  // namespace

void judge_variant(Context& context, const PreparedPtr& prepared, const RunResult& result,
                   CompareOptions how, std::string_view what, char bug_class) {
  if (context.judge(prepared, result, how)) return;
  Finding& finding = context.findings.back();
  finding.exactness = false;  // a plain run of the case need not show it
  finding.bug_class = bug_class;
  finding.comparison.message = fmt::format("{}: {}", what, finding.comparison.message);
}

void check_routing_not_asked(Context& context, const PreparedPtr& prepared) {
  RunOptions run = context.run;
  run.report = Report::nothing;
  CompareOptions how = context.compare_options();
  how.reports_routing = false;
  judge_variant(context, prepared, run_case(context.backend, prepared->subject, run), how,
                "without topk_ids and topk_weights among the outputs", 'J');
}

void check_halves_of_routing(Context& context, const PreparedPtr& prepared) {
  if (context.run.report != Report::both) return;
  RunOptions run = context.run;
  const RunResult both = run_case(context.backend, prepared->subject, context.run);
  for (const auto& [report, what, member] :
       {std::tuple{Report::ids, "topk_ids", &RunResult::ids},
        std::tuple{Report::weights, "topk_weights", &RunResult::weights}}) {
    run.report = report;
    const RunResult one = run_case(context.backend, prepared->subject, run);
    if (one.error == both.error && one.memory == both.memory &&
        same_bits(one.output, both.output) && same_bits(one.*member, both.*member)) {
      continue;
    }
    return context.complain(prepared, Stage::memory,
                            fmt::format("{} alone among the optional outputs: other bits than with "
                                        "both{}{}",
                                        what, one.error.empty() ? "" : "; it threw: ", one.error),
                            'J');
  }
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
  const RunResult moved = loaded.run(subject, input);
  const std::size_t before = context.findings.size();
  judge_variant(context, prepared, moved, context.compare_options(),
                "with every tensor at an odd address", 'O');
  if (context.findings.size() > before) return;
  // An address is no input: the same numbers give the same bits.
  if (same_bits(moved, run_case(context.backend, subject, context.run))) return;
  context.complain(prepared, Stage::repeat,
                   "the same tensors at odd addresses give other bits than at aligned ones", 'O');
}

void check_roomy_buffers(Context& context, const PreparedPtr& prepared) {
  RunOptions run = context.run;
  run.spare_workspace = 4096;
  judge_variant(context, prepared, run_case(context.backend, prepared->subject, run),
                context.compare_options(), "with the workspace of a larger call", 'J');
  run = context.run;
  run.outputs_off_alignment = true;
  if (context.done()) return;
  judge_variant(context, prepared, run_case(context.backend, prepared->subject, run),
                context.compare_options(), "with outputs at multiples of their elements alone",
                'O');
}

}  // namespace sluice::auditing
