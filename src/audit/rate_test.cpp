#include "audit/rate_test.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include <sluice/audit.hpp>

#include "audit/cases/draw_routing.hpp"
#include "audit/cases/draw_tensors.hpp"
#include "audit/checks/check.hpp"
#include "audit/compare.hpp"
#include "audit/edit_case.hpp"
#include "audit/faults/edit_weights.hpp"
#include "audit/session.hpp"

namespace sluice {
namespace auditing {
namespace {

// One call of the test, and what its baseline says.
struct TestCall {
  Case subject;
  std::vector<float> expected;
  std::unique_ptr<Oracle> oracle;  // only for our own comparator
};

OwnedTensor normals(Draw& draw, DType dtype, const Shape& shape, double deviation) {
  OwnedTensor tensor(dtype, shape);
  for (std::int64_t i = 0; i < tensor.elements(); ++i) {
    tensor.set(i, static_cast<float>(deviation * normal(draw)));
  }
  return tensor;
}

Case draw_case(const TestDescription& test, std::int64_t tokens) {
  Draw draw(test.seed + static_cast<std::uint64_t>(tokens));
  Case subject;
  subject.regime = test.name;
  subject.seed = test.seed;
  subject.spec = test.spec;
  const MoeSpec& spec = test.spec;
  const std::int64_t hidden = spec.experts.hidden_size;
  const std::int64_t experts = local_expert_count(spec);
  const std::int64_t width = local_width(spec);
  const std::int64_t rows = is_gated(spec.experts.activation) ? 2 * width : width;
  auto& t = subject.tensors;
  t["hidden_states"] = normals(draw, DType::bf16, {tokens, hidden}, test.scales.hidden);
  const auto values = [&](std::int64_t count, double deviation) {
    std::vector<float> list(static_cast<std::size_t>(count));
    for (float& value : list) value = static_cast<float>(deviation * normal(draw));
    return list;
  };
  store_matrices(subject, "gate_up_proj", values(experts * rows * hidden, test.scales.gate_up),
                 experts, rows, hidden);
  store_matrices(subject, "down_proj", values(experts * hidden * width, test.scales.down), experts,
                 hidden, width);
  if (const std::int64_t shared = local_shared_width(spec); shared > 0) {
    const std::int64_t shared_rows = is_gated(spec.experts.activation) ? 2 * shared : shared;
    t["shared.gate_up_proj"] =
        normals(draw, DType::bf16, {shared_rows, hidden}, test.scales.gate_up);
    t["shared.down_proj"] = normals(draw, DType::bf16, {hidden, shared}, test.scales.down);
  }
  const auto bias = [&](bool wanted, const char* name, const Shape& shape) {
    if (wanted) t[name] = normals(draw, DType::f32, shape, test.scales.bias);
  };
  bias(spec.router.router_bias, "router_bias", {spec.router.num_experts});
  bias(spec.router.e_score_correction_bias, "e_score_correction_bias", {spec.router.num_experts});
  bias(spec.experts.gate_up_bias, "gate_up_bias", {experts, rows});
  bias(spec.experts.down_bias, "down_bias", {experts, hidden});
  bias(spec.layer.shared_expert_gate, "shared_expert_gate", {hidden});
  t["router_logits"] =
      normals(draw, DType::f32, {tokens, spec.router.num_experts}, test.scales.logits);
  return subject;
}

// The baseline runs on the reference, with the tensors that its own spec knows.
std::vector<float> run_baseline(const TestDescription& test, const Case& subject,
                                const RunOptions& run) {
  const MoeWeights weights = subject.weights();
  Load load{subject.spec, weights, {}};
  load.spec = test.baseline;
  fit_weights(load, test.spec);
  const RunResult result = run_case(backend("reference"), from_load(subject, load), run);
  if (!result.error.empty())
    throw Error(ErrorKind::user, "the baseline cannot run: " + result.error);
  return to_floats(result.output.view());
}

Judgement judge_run(const TestDescription& test, const TestCall& call, const RunResult& result) {
  if (!result.error.empty()) return {false, "it threw: " + result.error};
  if (test.comparator.kind == ComparatorKind::bound) {
    const Comparison comparison = compare(call.subject, *call.oracle, result);
    return {comparison.ok(), comparison.ok() ? fmt::format("{:.3f} of the bound", comparison.use)
                                             : fmt::format("{}: {}", to_string(comparison.stage),
                                                           comparison.message)};
  }
  return judge(test.comparator, to_floats(result.output.view()), call.expected);
}

struct Trial {
  std::vector<RunResult> results;  // one per call
  Judgement judgement;             // the first call that the comparator rejects, else the last
};

Trial try_backend(const TestDescription& test, const std::vector<TestCall>& calls,
                  const Backend& backend, const RunOptions& run) {
  Trial trial{{}, {true, "no call"}};
  for (const TestCall& call : calls) {
    trial.results.push_back(run_case(backend, call.subject, run));
    if (trial.judgement.passes) trial.judgement = judge_run(test, call, trial.results.back());
  }
  return trial;
}

// Whether a mutant does more than round elsewhere: other ids, a weight that differs by more than
// any order of fp32 operations explains, an output by more than one step of its dtype. Bits would
// count the mutants whose model of a router rounds where the correct backend does not.
bool differs(const RunResult& right, const RunResult& wrong) {
  if (right.error != wrong.error || right.output.shape() != wrong.output.shape()) return true;
  if (!right.output.given()) return false;
  if (!same_bits(right.ids, wrong.ids)) return true;
  constexpr double kWeight = 1e-5;
  const auto apart = [](double a, double b, double room) {
    return std::isnan(a) || std::isnan(b) ? std::isnan(a) != std::isnan(b)
                                          : a != b && !(std::fabs(a - b) <= room);
  };
  for (std::int64_t i = 0; i < right.weights.elements(); ++i) {
    const double weight = right.weights.get(i);
    if (apart(weight, wrong.weights.get(i), kWeight * std::fabs(weight))) return true;
  }
  const DType dtype = right.output.dtype();
  const double step = dtype == DType::f32 ? kWeight : dtype == DType::f16 ? 0x1p-10 : 0x1p-7;
  const std::int64_t width = right.output.shape()[1];
  for (std::int64_t row = 0; row < right.output.shape()[0]; ++row) {
    // What cancels is off by a share of what it was before.
    double largest = 0.0;
    for (std::int64_t i = row * width; i < (row + 1) * width; ++i) {
      largest = std::fmax(largest, std::fabs(right.output.get(i)));
    }
    for (std::int64_t i = row * width; i < (row + 1) * width; ++i) {
      const double value = right.output.get(i);
      const double room = step * std::fabs(value) + kWeight * largest;
      if (apart(value, wrong.output.get(i), room)) return true;
    }
  }
  return false;
}

bool differs(const Trial& right, const Trial& wrong) {
  for (std::size_t i = 0; i < right.results.size(); ++i) {
    if (differs(right.results[i], wrong.results[i])) return true;
  }
  return false;
}

}  // namespace

}  // namespace auditing

int TestRating::changing() const {
  return static_cast<int>(std::count_if(mutants.begin(), mutants.end(),
                                        [](const RatedMutant& m) { return m.changes; }));
}

int TestRating::killed() const {
  return static_cast<int>(
      std::count_if(mutants.begin(), mutants.end(), [](const RatedMutant& m) { return m.killed; }));
}

TestRating rate_test(const std::string& json_text, const Backend& correct,
                     const std::function<void()>& before_call) {
  using namespace auditing;
  const TestDescription test = parse_test(json_text);
  require_available(correct);
  require_accepted(correct, test.spec, "the test's spec");
  RunOptions run;
  run.load.executor = make_executor();
  run.before_call = before_call;
  run.poison = Poison::zero;  // what an allocator usually returns
  std::vector<TestCall> calls;
  for (const std::int64_t tokens : test.tokens) {
    TestCall call{draw_case(test, tokens), {}, nullptr};
    call.expected = run_baseline(test, call.subject, run);
    calls.push_back(std::move(call));
  }
  if (test.comparator.kind == ComparatorKind::bound) {
    for (TestCall& call : calls) call.oracle = std::make_unique<Oracle>(call.subject);
  }
  TestRating rating;
  rating.test = test.name;
  rating.source = test.source;
  rating.backend = correct.name();
  const Trial right = try_backend(test, calls, correct, run);
  rating.correct_passes = right.judgement.passes;
  rating.correct_evidence = right.judgement.evidence;
  for (const Mutant& mutant : mutant_list()) {
    RatedMutant& row = rating.mutants.emplace_back();
    row.name = mutant.info.name;
    row.bug_class = mutant.info.bug_class;
    const auto faulty = decorate(correct, mutant);
    if (!negotiate(*faulty, test.spec).ok()) {
      row.killed = true;
      row.evidence = "it refused the layer";
      continue;
    }
    const Trial trial = try_backend(test, calls, *faulty, run);
    row.changes = differs(right, trial);
    row.killed = row.changes && !trial.judgement.passes;
    row.evidence = row.changes ? trial.judgement.evidence : "changes nothing on this layer";
  }
  return rating;
}

}  // namespace sluice
