// Exactly once, without the oracle: out(s) - out(0) is proportional to s, for the factor and for
// given weights, and out(0) is what the shared experts give.
#include <fmt/format.h>

#include "audit/cases/draw_routing.hpp"
#include "audit/cases/draw_spec.hpp"
#include "audit/cases/draw_tensors.hpp"
#include "audit/checks/check.hpp"

namespace sluice::auditing {
namespace {

struct Scaled {
  double scale;
  PreparedPtr prepared;
  RunResult result;
};

// |a/sa - b/sb| with both bounds, where a = out(sa) - out(0).
bool proportional(Context& context, const Scaled& zero, const Scaled& a, const Scaled& b,
                  std::string_view what, std::string_view field) {
  const Case& subject = a.prepared->subject;
  const std::int64_t width = subject.spec.experts.hidden_size;
  const auto bound = [&](const Scaled& run, std::int64_t token, std::int64_t i) {
    const auto ids = run.prepared->oracle.ids(token);
    const Approx& out = run.prepared->oracle.output(token, ids)[static_cast<std::size_t>(i)];
    // Half a step of the output's dtype, bf16 at the coarsest.
    const double half_step = run.result.output.dtype() == DType::f32   ? kUnit
                             : run.result.output.dtype() == DType::f16 ? 0x1p-11
                                                                       : 0x1p-8;
    return 2.0 * out.error + half_step * (std::fabs(out.value) + out.error) + 0x1p-24;
  };
  for (std::int64_t token = 0; token < subject.tokens(); ++token) {
    for (std::int64_t i = 0; i < width; ++i) {
      const std::int64_t at = token * width + i;
      const double base = zero.result.output.get(at);
      const double rise_a = (a.result.output.get(at) - base) / a.scale;
      const double rise_b = (b.result.output.get(at) - base) / b.scale;
      const double allowed = (bound(a, token, i) + bound(zero, token, i)) / a.scale +
                             (bound(b, token, i) + bound(zero, token, i)) / b.scale;
      if (std::fabs(rise_a - rise_b) <= allowed) continue;
      context.complain(a.prepared, Stage::combine,
                       fmt::format("the routed part is not proportional to {}: per unit it rises "
                                   "by {:.9g} at {} and by {:.9g} at {} (token {}, column {})",
                                   what, rise_a, a.scale, rise_b, b.scale, token, i),
                       'A', field);
      return false;
    }
  }
  return true;
}

template <typename Make>
bool check_scales(Context& context, const std::string& key, std::string_view what,
                  std::string_view field, Make make) {
  std::vector<Scaled> runs;
  for (const double scale : {0.0, 0.75, 2.6875}) {
    const PreparedPtr prepared =
        context.bank.of(fmt::format("{}#{}", key, scale), [&] { return make(scale); });
    if (!accepts(context.backend, prepared->subject.spec)) return true;
    runs.push_back({scale, prepared, run_case(context.backend, prepared->subject, context.run)});
    if (!context.judge(prepared, runs.back().result, context.compare_options(), field)) {
      return false;
    }
  }
  return proportional(context, runs[0], runs[1], runs[2], what, field);
}

}  // namespace

namespace {

// Two specs with everything, then the factor alone: on the weights, and on the output.
std::optional<MoeSpec> spec_of(Context& context, int round) {
  auto base = context.bank.source().base({8, round % 2 == 0 ? 3 : 1, 40, 48});
  if (!base) return base;
  Draw draw(context.seed(round) * 13 + 3);
  if (round < 2 || context.bank.source().given) return context.bank.source().draw(*base, draw);
  const char* name = round == 2 ? "routed_scaling_factor" : "apply_routed_scale_to_output";
  const Field& one = field(find_field(name));
  if (!context.bank.backend().claims().contains(one.name)) return base;
  return with_field(context.bank.backend(), *base, one, draw.bits()).value_or(*base);
}

}  // namespace

void check_linearity(Context& context) {
  for (int round = 0; round < 4; ++round) {
    if (context.done()) return;
    // Ids must not be ambiguous for the factor, so the spec is drawn once and scaled.
    const std::optional<MoeSpec> drawn = spec_of(context, round);
    if (!drawn) return;
    const MoeSpec& spec = *drawn;
    const std::string key = fmt::format("linear#{}", context.seed(round));
    bool on_input = spec.router.apply_router_weight_on_input;
    if (!field(find_field("routed_scaling_factor")).is_neutral(spec) && !on_input) {
      const auto scaled = [&](double scale) {
        MoeSpec changed = spec;
        changed.router.routed_scaling_factor = scale;
        Case made = plain_case(changed, context.seed(round), 4);
        made.regime = "linear in the factor";
        return made;
      };
      if (!check_scales(context, key + "factor", "routed_scaling_factor",
                        "router.routed_scaling_factor", scaled)) {
        return;
      }
    }
    if (on_input) continue;  // the activation is not linear in its input
    const auto weighted = [&](double scale) {
      Case made = plain_case(spec, context.seed(round), 4);
      made.regime = "linear in the weights";
      made.tensors.erase("router_logits");
      Draw again(context.seed(round));
      draw_given_routing(made, DType::i32, DType::f32, false, again);
      OwnedTensor& weights = made.tensors["topk_weights"];
      for (std::int64_t i = 0; i < weights.elements(); ++i) {
        weights.set(i, static_cast<float>(scale) * weights.get(i));
      }
      return made;
    };
    if (!check_scales(context, key + "weights", "the given weights", "", weighted)) return;
  }
}

}  // namespace sluice::auditing
