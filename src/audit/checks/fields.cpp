// Each claimed field alone: live, exact at several values, applied once.
#include <fmt/format.h>

#include "audit/cases/draw_routing.hpp"
#include "audit/cases/draw_spec.hpp"
#include "audit/cases/draw_tensors.hpp"
#include "audit/checks/check.hpp"
#include "audit/edit_case.hpp"
#include "audit/faults/fault.hpp"

namespace sluice::auditing {
namespace {

constexpr Sizes kShapes[] = {{8, 3, 40, 48}, {8, 1, 40, 48}, {12, 4, 128, 128}};
// Several blocks of 128 each way, in both matrices: scales of one for all show.
constexpr Sizes kBlocks{4, 2, 256, 384};
// Counts that the other shapes do not divide into: three groups.
constexpr Sizes kThirds{12, 4, 40, 48};
constexpr std::int64_t kTokens = 8;

// Fields that show only in company: without a down bias the first rank is like any other, a group
// score only matters with groups, an epsilon with a normalisation (which their perturbations set).
MoeSpec in_company(const Backend& backend, MoeSpec spec, const Field& field, std::uint64_t seed) {
  const auto join = [&](std::string_view name) {
    const Field& other = sluice::field(find_field(name));
    if (!backend.claims().contains(name)) return;
    if (auto changed = with_field(backend, spec, other, seed)) spec = std::move(*changed);
  };
  if (field.key == "tp_rank") join("experts.down_bias");
  if (field.key == "apply_routed_scale_to_output") join("router.routed_scaling_factor");
  return spec;
}

// How far apart the truths of two cases are, in bounds: above one they cannot be confused.
double distance(const Prepared& a, const Prepared& b) {
  double far = 0.0;
  for (std::int64_t token = 0; token < a.subject.tokens(); ++token) {
    const auto ids_a = a.oracle.ids(token);
    const auto ids_b = b.oracle.ids(token);
    if (ids_a != ids_b) return std::numeric_limits<double>::infinity();
    const auto apart = [&](const std::vector<Approx>& x, const std::vector<Approx>& y) {
      for (std::size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
        const double gap = std::fabs(x[i].value - y[i].value);
        const double room = x[i].error + y[i].error;
        if (gap > 0.0) far = std::max(far, room > 0.0 ? gap / room : 1e9);
      }
    };
    apart(a.oracle.weights(token, ids_a), b.oracle.weights(token, ids_b));
    apart(std::vector<Approx>(a.oracle.output(token, ids_a)), b.oracle.output(token, ids_b));
  }
  return far;
}

struct FieldCase {
  PreparedPtr with;
  PreparedPtr without;
};

// Seeds whose perturbations give different values; of a choice, all of its values.
std::vector<std::uint64_t> seeds_of(Context& context, const Field& field, const Sizes& sizes) {
  const Backend& backend = context.bank.backend();
  std::vector<std::uint64_t> seeds;
  std::vector<std::string> seen;
  const std::size_t most = field.kind == FieldKind::choice
                               ? std::numeric_limits<std::size_t>::max()
                               : static_cast<std::size_t>(context.rounds);
  for (std::uint64_t i = 0; i < 64 && seeds.size() < most; ++i) {
    const std::uint64_t seed = context.options.seed * 1000 + i;
    const auto base = context.bank.source().base(sizes);
    if (!base) break;
    const auto spec = with_field(backend, in_company(backend, *base, field, seed), field, seed);
    if (!spec) continue;
    const std::string value = field.value(*spec);
    if (std::find(seen.begin(), seen.end(), value) != seen.end()) continue;
    seen.push_back(value);
    seeds.push_back(seed);
  }
  return seeds;
}

// The field at the value that `seed` gives, and the same case without it.
FieldCase field_case(Context& context, const Field& field, const Sizes& sizes, std::uint64_t seed) {
  const Backend& backend = context.bank.backend();
  FieldCase made;
  const auto base = context.bank.source().base(sizes);
  if (!base) return made;
  const auto spec = with_field(backend, in_company(backend, *base, field, seed), field, seed);
  if (!spec) return made;
  // A draw in which the value moves nothing says nothing: draw other tensors.
  for (std::uint64_t attempt = 0; attempt < 6; ++attempt) {
    const std::string key =
        fmt::format("{}#{}#{}#{}#{}", field.name, seed, sizes.experts, sizes.top_k, attempt);
    made.with = context.bank.of(key, [&] {
      Case subject = plain_case(*spec, seed + attempt, kTokens);
      subject.regime = fmt::format("{} = {}", field.key, field.value(*spec));
      return subject;
    });
    const auto without = without_field(made.with->subject, field);
    if (!without || !accepts(backend, without->spec)) return made;
    made.without = context.bank.of(key + "#without", [&] { return *without; });
    if (distance(*made.with, *made.without) > 1.0) return made;
    made.without = nullptr;
  }
  return made;
}

// The first sizes that allow values of this field, with a seed for each value.
std::vector<std::pair<Sizes, std::uint64_t>> values_of(Context& context, const Field& field) {
  std::vector<std::pair<Sizes, std::uint64_t>> values;
  const auto add = [&](const Sizes& sizes) {
    for (const std::uint64_t seed : seeds_of(context, field, sizes)) {
      values.emplace_back(sizes, seed);
    }
  };
  if (field.key == "weight_format") add(kBlocks);
  for (const Sizes& sizes : kShapes) {
    if (values.empty()) add(sizes);
  }
  if (field.key == "n_group" || field.key == "topk_group") add(kThirds);
  return values;
}

void judge_live(Context& context, const Field& field, const FieldCase& pair, FieldReport& row,
                const RunResult& with) {
  if (!pair.without) return;
  const bool other_dtype =
      pair.with->subject.output_dtype() != pair.without->subject.output_dtype();
  const RunResult without = run_case(context.backend, pair.without->subject, context.run);
  if (!without.error.empty() || other_dtype) {
    if (row.live == Verdict::not_applicable) row.live = Verdict::pass;
    return;
  }
  if (!same_bits(with, without)) {
    if (row.live == Verdict::not_applicable) row.live = Verdict::pass;
    return;
  }
  row.live = Verdict::fail;
  if (row.exact == Verdict::fail) return;  // filed already
  context.complain(
      pair.with, Stage::combine,
      fmt::format("{} is inert: {} and {} give the same bits, and should not", field.name,
                  field.value(pair.with->subject.spec), field.value(pair.without->subject.spec)),
      'Q', field.name);
  context.findings.back().inert = true;
}

bool can_double(const Field& field) {
  try {
    double_fault(field.name);
    return true;
  } catch (const Error&) {
    return false;
  }
}

// Only the fields that the given spec sets, at the values that it gives.
void check_given_fields(Context& context, const MoeSpec& spec) {
  const PreparedPtr with = context.bank.of("given spec", [&] {
    Case subject = plain_case(spec, context.options.seed, kTokens);
    subject.regime = "the given spec";
    return subject;
  });
  const RunResult result = run_case(context.backend, with->subject, context.run);
  const bool exact = context.judge(with, result, context.compare_options());
  for (const Field* field : live_fields(spec)) {
    FieldReport& row = context.row_of(*field);
    row.values = {field->value(spec)};
    row.exact = exact ? Verdict::pass : Verdict::fail;
    const auto without = without_field(with->subject, *field);
    if (!without || !accepts(context.backend, without->spec)) continue;
    FieldCase pair{with, context.bank.of(fmt::format("given spec without {}", field->name),
                                         [&] { return *without; })};
    if (distance(*pair.with, *pair.without) > 1.0) judge_live(context, *field, pair, row, result);
  }
}

}  // namespace

void check_fields(Context& context) {
  check_claims(context);
  if (context.bank.source().given) {
    return check_given_fields(context, *context.bank.source().given);
  }
  const FieldSet claims = context.backend.claims();
  // All fields neutral first: if that fails, no field is to blame.
  for (const Sizes& sizes : kShapes) {
    const auto spec = context.bank.source().base(sizes);
    if (!spec || !accepts(context.backend, *spec)) continue;
    const std::string key = fmt::format("neutral#{}#{}", context.options.seed, sizes.top_k);
    const PreparedPtr neutral = context.bank.of(key, [&] {
      Case made = plain_case(*spec, context.options.seed, kTokens);
      made.regime = "every field neutral";
      return made;
    });
    if (!context.judge(neutral)) return;
  }
  for (const Field& field : fields()) {
    if (!claims.contains(field.name) || field.kind == FieldKind::size) continue;
    FieldReport& row = context.row_of(field);
    for (const auto& [sizes, seed] : values_of(context, field)) {
      if (context.done()) return;
      const FieldCase pair = field_case(context, field, sizes, seed);
      if (!pair.with || !accepts(context.backend, pair.with->subject.spec)) continue;
      row.values.push_back(field.value(pair.with->subject.spec));
      const RunResult result = run_case(context.backend, pair.with->subject, context.run);
      const bool exact = context.judge(pair.with, result, context.compare_options(), field.name);
      row.exact =
          exact ? (row.exact == Verdict::fail ? Verdict::fail : Verdict::pass) : Verdict::fail;
      judge_live(context, field, pair, row, result);
      // Exact at a value for which once and twice differ: applied once.
      if (can_double(field)) row.once = row.exact;
      if (!exact) break;
    }
  }
}

}  // namespace sluice::auditing
