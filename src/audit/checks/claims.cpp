// Claims that only the neutral value keeps.
#include <fmt/format.h>

#include "audit/cases/draw_spec.hpp"
#include "audit/cases/draw_tensors.hpp"
#include "audit/checks/check.hpp"
#include "spec/perturb.hpp"

namespace sluice::auditing {
namespace {

constexpr Sizes kShapes[] = {{8, 3, 40, 48}, {8, 1, 40, 48}, {12, 4, 128, 128}};

// A claimed field for which no value at all is accepted is no claim.
std::string why_never_accepted(const Context& context, const SpecSource& bases,
                               const Field& field) {
  std::string reason;
  for (const Sizes& sizes : kShapes) {
    const auto base = bases.base(sizes);
    for (std::uint64_t i = 0; base && i < 8; ++i) {
      MoeSpec spec = *base;
      if (!field.perturb(spec, context.options.seed + i) || field.is_neutral(spec)) continue;
      if (!is_valid(spec) || !widths_fit_format(spec)) continue;
      const Support support = negotiate(context.backend, spec);
      if (support.ok()) return {};
      // Another field that is not claimed, or a size, stands in the way: not this one's fault.
      const bool own = std::any_of(support.refusals.begin(), support.refusals.end(),
                                   [&](const Refusal& r) { return r.field == field.name; });
      if (!own) return {};
      if (reason.empty()) {
        reason = fmt::format("{} {}", field.value(spec), support.refusals.front().reason);
      }
    }
  }
  return reason;
}

}  // namespace

void check_claims(Context& context) {
  const FieldSet claims = context.backend.claims();
  const SpecSource bases{context.backend, std::nullopt};
  for (const Field& field : fields()) {
    if (!claims.contains(field.name) || field.kind == FieldKind::size) continue;
    const std::string reason = why_never_accepted(context, bases, field);
    if (reason.empty()) continue;
    context.row_of(field).refused = Verdict::fail;
    context.complain(nullptr, Stage::load,
                     fmt::format("{} is claimed and every value but the neutral one is refused: {}",
                                 field.name, reason),
                     'Q', field.name);
  }
}

}  // namespace sluice::auditing
