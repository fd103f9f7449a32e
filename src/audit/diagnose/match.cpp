// Which known fault explains a wrong output: each one is run over the reference on the same case.
#include <fmt/format.h>

#include "audit/diagnose/diagnose.hpp"
#include "audit/faults/fault.hpp"

namespace sluice::auditing {
namespace {

struct Suspect {
  Match match;
  Mutant mutant;
};

std::string dropped_text(const Field& field) {
  return fmt::format("behaves as if {} were {}", field.key, field.neutral);
}

std::vector<Suspect> suspects_of(const MoeSpec& spec) {
  std::vector<Suspect> suspects;
  // Plain words first: a field lost, a field applied twice.
  for (const Field& field : fields()) {
    if (field.kind == FieldKind::size || field.is_neutral(spec)) continue;
    Match match{fmt::format("drop:{}", field.name), dropped_text(field), std::string(field.name),
                '?'};
    suspects.push_back({match, {{match.fault, '?', {}, {}}, drop_fault(field.name), {}}});
  }
  for (const Field& field : fields()) {
    if (field.kind == FieldKind::size || field.is_neutral(spec)) continue;
    try {
      Match match{fmt::format("double:{}", field.name),
                  fmt::format("behaves as if {} were applied twice", field.key),
                  std::string(field.name), '?'};
      suspects.push_back({match, {{match.fault, '?', {}, {}}, double_fault(field.name), {}}});
    } catch (const Error&) {
      continue;  // applying it twice is applying it once
    }
  }
  for (const Mutant& mutant : mutant_list()) {
    // Those that write outside their buffers are for the memory check alone.
    if (mutant.info.name.find("overrun") != std::string_view::npos || !mutant.make) continue;
    Match match{std::string(mutant.info.name), fmt::format("behaves as if {}", mutant.info.meaning),
                std::string(field_of_mutant(mutant.info.name)), mutant.info.bug_class};
    suspects.push_back({match, mutant});
  }
  return suspects;
}

// What explains the plainest symptoms comes first: zeros, then memory that nobody wrote.
int rank_of(const Suspect& suspect, bool has_nan) {
  if (suspect.match.fault == "output-zero") return 0;
  if (has_nan && suspect.match.bug_class == 'J') return 1;
  return 2;
}

bool contains_nan(const OwnedTensor& tensor) {
  for (std::int64_t i = 0; i < tensor.elements(); ++i) {
    if (std::isnan(tensor.get(i))) return true;
  }
  return false;
}

bool close(double a, double b, double room) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  // The room grows with the value: around infinity it would hold every number.
  if (std::isinf(a) || std::isinf(b)) return a == b;
  return a == b || std::fabs(a - b) <= room;
}

// Share of the elements of two outputs that agree as far as rounding allows; 0 if the routing
// that they report does not.
double agreement(const Prepared& prepared, const RunResult& a, const RunResult& b) {
  if (a.output.shape() != b.output.shape() || a.output.elements() == 0) return 0.0;
  if (a.ids.given() && b.ids.given() && !same_bits(a.ids, b.ids)) return 0.0;
  const std::int64_t width = a.output.shape()[1];
  const double step = a.output.dtype() == DType::f32   ? 0x1p-22
                      : a.output.dtype() == DType::f16 ? 0x1p-9
                                                       : 0x1p-6;
  if (a.weights.given() && b.weights.given()) {
    for (std::int64_t i = 0; i < a.weights.elements(); ++i) {
      const double x = a.weights.get(i);
      if (!close(x, b.weights.get(i), 1e-5 * std::fabs(x))) return 0.0;
    }
  }
  std::int64_t agree = 0;
  for (std::int64_t token = 0; token < a.output.shape()[0]; ++token) {
    const std::vector<Approx> truth = prepared.oracle.output(token, prepared.oracle.ids(token));
    for (std::int64_t i = 0; i < width; ++i) {
      const double x = a.output.get(token * width + i);
      const double room = 4.0 * truth[static_cast<std::size_t>(i)].error + step * std::fabs(x);
      agree += close(x, b.output.get(token * width + i), room) ? 1 : 0;
    }
  }
  return static_cast<double>(agree) / static_cast<double>(a.output.elements());
}

}  // namespace

std::optional<Match> match_fault(const Finding& finding, const RunOptions& run) {
  if (!finding.prepared || !finding.result.error.empty() || !finding.result.output.given()) {
    return std::nullopt;
  }
  const Prepared& prepared = *finding.prepared;
  const Backend& reference = backend("reference");
  const RunResult right = run_case(reference, prepared.subject, run);
  std::vector<Suspect> suspects = suspects_of(prepared.subject.spec);
  const bool has_nan = contains_nan(finding.result.output);
  std::stable_sort(suspects.begin(), suspects.end(), [&](const Suspect& a, const Suspect& b) {
    return rank_of(a, has_nan) < rank_of(b, has_nan);
  });
  for (const Suspect& suspect : suspects) {
    const auto faulty = decorate(reference, suspect.mutant);
    const RunResult wrong = run_case(*faulty, prepared.subject, run);
    if (!wrong.error.empty()) continue;
    constexpr double kNearlyAll = 0.995;
    // A fault that leaves this case right explains nothing.
    if (agreement(prepared, right, wrong) > kNearlyAll) continue;
    if (agreement(prepared, finding.result, wrong) >= kNearlyAll) return suspect.match;
  }
  return std::nullopt;
}

}  // namespace sluice::auditing
