#include "audit/cases/draw_spec.hpp"

#include <algorithm>

#include "audit/cases/draw_tensors.hpp"
#include "spec/perturb.hpp"

namespace sluice::auditing {
namespace {

// Beyond the registry's own perturbation: every weight format, wherever it fits.
void draw_weight_format(MoeSpec& spec, std::uint64_t seed) {
  constexpr int kFormats = 9;
  const MoeSpec before = spec;
  spec.experts.weight_format = static_cast<WeightFormat>(1 + seed % (kFormats - 1));
  if (!widths_fit_format(spec)) spec = before;
}

}  // namespace

MoeSpec neutral_spec(const Sizes& sizes) {
  MoeSpec spec;
  spec.router.num_experts = sizes.experts;
  spec.router.top_k = sizes.top_k;
  spec.experts.hidden_size = sizes.hidden;
  spec.experts.intermediate_size = sizes.intermediate;
  return spec;
}

bool accepts(const Backend& backend, const MoeSpec& spec) {
  return is_valid(spec) && widths_fit_format(spec) && negotiate(backend, spec).ok();
}

std::optional<MoeSpec> nearest_accepted(const Backend& backend, const Sizes& sizes) {
  const auto up = [](std::int64_t size, std::int64_t to) { return (size + to - 1) / to * to; };
  MoeSpec spec = neutral_spec(sizes);
  if (accepts(backend, spec)) return spec;
  for (const ScoreFunc score :
       {ScoreFunc::softmax, ScoreFunc::sigmoid, ScoreFunc::sqrt_softplus, ScoreFunc::none}) {
    spec.router.score_func = score;
    for (const std::int64_t top_k : {sizes.top_k, std::int64_t{1}, std::int64_t{2}, std::int64_t{4},
                                     std::int64_t{6}, std::int64_t{8}}) {
      for (const std::int64_t experts : {std::int64_t{1}, std::int64_t{8}, std::int64_t{32},
                                         std::int64_t{64}, std::int64_t{128}, std::int64_t{256}}) {
        for (const std::int64_t width : {1, 16, 32, 64, 128, 256, 512}) {
          spec.router.top_k = top_k;
          spec.router.num_experts = up(sizes.experts, experts);
          spec.experts.hidden_size = up(sizes.hidden, width);
          spec.experts.intermediate_size = up(sizes.intermediate, width);
          if (!accepts(backend, spec)) continue;
          // One width asks for multiples; the other need not follow.
          for (std::int64_t ExpertSpec::*member :
               {&ExpertSpec::hidden_size, &ExpertSpec::intermediate_size}) {
            MoeSpec narrow = spec;
            narrow.experts.*member =
                member == &ExpertSpec::hidden_size ? sizes.hidden : sizes.intermediate;
            if (accepts(backend, narrow)) spec = narrow;
          }
          return spec;
        }
      }
    }
  }
  return std::nullopt;
}

std::vector<const Field*> live_fields(const MoeSpec& spec) {
  std::vector<const Field*> live;
  for (const Field& field : fields()) {
    if (field.kind != FieldKind::size && !field.is_neutral(spec)) live.push_back(&field);
  }
  return live;
}

std::optional<MoeSpec> with_field(const Backend& backend, const MoeSpec& spec, const Field& field,
                                  std::uint64_t seed) {
  MoeSpec changed = spec;
  if (!field.perturb(changed, seed)) return std::nullopt;
  if (field.key == "weight_format" && seed % 2 == 0) {
    MoeSpec other = changed;
    draw_weight_format(other, seed / 2);
    if (accepts(backend, other)) changed = other;
  }
  if (field.is_neutral(changed) || !accepts(backend, changed)) return std::nullopt;
  for (const Field* live : live_fields(spec)) {
    if (live->is_neutral(changed)) return std::nullopt;
  }
  return changed;
}

std::optional<MoeSpec> SpecSource::base(const Sizes& sizes) const {
  if (given) return given;
  const auto known = found.find(sizes);
  if (known != found.end()) return known->second;
  return found[sizes] = nearest_accepted(backend, sizes);
}

MoeSpec SpecSource::draw(const MoeSpec& base, Draw& draw,
                         std::span<const std::string_view> keep_neutral) const {
  return given ? *given : draw_spec(backend, base, draw, keep_neutral);
}

MoeSpec with_small_widths(const MoeSpec& spec) {
  MoeSpec small = spec;
  const auto cut = [&](std::int64_t width, std::int64_t to) { return std::min(width, to); };
  // 128 serves every block format and two or four tensor-parallel ranks.
  small.experts.hidden_size = cut(spec.experts.hidden_size, 128);
  small.experts.intermediate_size = cut(spec.experts.intermediate_size, 128 * spec.layer.tp_size);
  if (spec.layer.shared_intermediate_size > 0) {
    // Still wider than the default, where it was.
    const std::int64_t step = 8 * spec.layer.tp_size;
    const std::int64_t standard = spec.layer.num_shared_experts * small.experts.intermediate_size;
    const bool is_default = spec.layer.shared_intermediate_size ==
                            spec.layer.num_shared_experts * spec.experts.intermediate_size;
    small.layer.shared_intermediate_size =
        cut(spec.layer.shared_intermediate_size, is_default ? standard : standard + step);
  }
  return small;
}

MoeSpec draw_spec(const Backend& backend, const MoeSpec& base, Draw& draw,
                  std::span<const std::string_view> keep_neutral) {
  const FieldSet claims = backend.claims();
  std::vector<const Field*> order;
  for (const Field& field : fields()) {
    const bool kept =
        std::find(keep_neutral.begin(), keep_neutral.end(), field.key) != keep_neutral.end();
    if (field.kind != FieldKind::size && !kept && claims.contains(field.name)) {
      order.push_back(&field);
    }
  }
  for (std::size_t i = order.size(); i > 1; --i) {
    std::swap(order[i - 1],
              order[static_cast<std::size_t>(draw.integer(0, static_cast<std::int64_t>(i) - 1))]);
  }
  MoeSpec spec = base;
  for (const Field* field : order) {
    const std::uint64_t seed = draw.bits();
    // One in six stays as it is: the neutral value of one field is what others need to show.
    if (!field->is_neutral(spec) || draw.integer(0, 5) == 0) continue;
    auto changed = with_field(backend, spec, *field, seed);
    if (!changed) continue;
    // A field that drags a forbidden one along is left alone.
    const bool forbidden =
        std::any_of(keep_neutral.begin(), keep_neutral.end(), [&](std::string_view key) {
          const Field& kept = sluice::field(find_field(key));
          return !kept.is_neutral(*changed) && kept.is_neutral(spec);
        });
    if (!forbidden) spec = std::move(*changed);
  }
  return spec;
}

}  // namespace sluice::auditing
