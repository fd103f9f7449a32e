// Q: what is not claimed is refused by name before anything is packed.
#include <fmt/format.h>

#include "audit/cases/draw_spec.hpp"
#include "audit/cases/draw_tensors.hpp"
#include "audit/checks/check.hpp"
#include "spec/perturb.hpp"

namespace sluice::auditing {
namespace {

constexpr Sizes kShapes[] = {{8, 3, 40, 48}, {8, 1, 40, 48}, {12, 2, 128, 128}};

// Any valid spec with the field not neutral and all others neutral, or as near as it gets.
std::optional<MoeSpec> with_field_alone(const Field& field, std::uint64_t seed,
                                        const Sizes& sizes) {
  MoeSpec spec = neutral_spec(sizes);
  if (!field.perturb(spec, seed) || field.is_neutral(spec)) return std::nullopt;
  if (!is_valid(spec)) return std::nullopt;
  return spec;
}

// The layer must throw Error(unsupported) that names the field.
std::string why_not_refused(const Backend& backend, const MoeSpec& spec, const Field& field) {
  const Support support = negotiate(backend, spec);
  for (const Refusal& refusal : support.refusals) {
    if (refusal.field == field.name) return {};
  }
  return support.ok() ? "it was accepted"
                      : fmt::format("it was refused, but for {}", support.refusals.front().field);
}

}  // namespace

void check_refusals(Context& context) {
  for (const Field& field : fields()) {
    if (context.done()) return;
    FieldReport& row = context.row_of(field);
    if (field.kind == FieldKind::size) {
      // Sizes have no neutral value: every backend must honour them.
      if (!row.claimed) {
        row.refused = Verdict::fail;
        context.complain(nullptr, Stage::load,
                         fmt::format("{} is not claimed; no layer exists without it", field.name),
                         'Q', field.name);
      }
      continue;
    }
    if (row.claimed) continue;  // whether it is accepted: check_fields
    ++context.report->cases;
    for (const Sizes& sizes : kShapes) {
      const auto spec = with_field_alone(field, context.options.seed, sizes);
      if (!spec) continue;
      const std::string wrong = why_not_refused(context.backend, *spec, field);
      row.refused = wrong.empty() ? Verdict::pass : Verdict::fail;
      row.values = {field.value(*spec)};
      if (!wrong.empty()) {
        context.complain(nullptr, Stage::load,
                         fmt::format("{} = {} is not claimed; it must be refused by name, but {}",
                                     field.name, field.value(*spec), wrong),
                         'Q', field.name);
      }
      break;
    }
  }
}

}  // namespace sluice::auditing
