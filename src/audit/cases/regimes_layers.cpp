// Fields in all combinations, gates out of the ordinary, routing from elsewhere, integers.
#include "audit/cases/draw_tensors.hpp"
#include "audit/cases/plan.hpp"
#include "audit/cases/regime_makers.hpp"

namespace sluice::auditing {

std::optional<Case> make_random(const SpecSource& source, std::uint64_t seed) {
  return simple(source, seed, [](auto& b, auto s, Plan& plan, Draw& draw) {
    return ordinary(b, s, "random", ordinary_logit, plan, draw,
                    draw.integer(0, 3) == 0 ? DType::bf16 : DType::f32);
  });
}

// The factor on the weights, ids chosen by a plain rule: most other fields neutral.
std::optional<Case> make_sparse(const SpecSource& source, std::uint64_t seed) {
  if (source.given) return std::nullopt;
  Draw draw(seed);
  const std::optional<MoeSpec> base = source.base(draw_sizes(draw));
  if (!base) return std::nullopt;
  const MoeSpec full = source.draw(*base, draw);
  MoeSpec spec = *base;
  // About a third of the fields: combinations that the full draw never leaves alone.
  for (const Field* field : live_fields(full)) {
    if (draw.integer(0, 2) != 0) continue;
    if (auto changed = with_field(source.backend, spec, *field, draw.bits()))
      spec = std::move(*changed);
  }
  Case subject;
  subject.regime = "sparse";
  subject.seed = seed;
  subject.spec = spec;
  draw_tensors(subject, {draw.integer(3, 12), draw_hidden_dtype(draw), DType::f32, Values::random},
               draw);
  draw_logits(subject, DType::f32, draw, ordinary_logit);
  return subject;
}

// Gates beyond 88, where a sigmoid by exp(x) / (1 + exp(x)) is NaN.
std::optional<Case> make_large_gates(const SpecSource& source, std::uint64_t seed) {
  return simple(source, seed, [](auto& b, auto s, Plan& plan, Draw& draw) {
    plan.keep_neutral = {
        "activation_format",
        "output_dtype",  // f16 overflows, rightly
                         // The chosen experts must be here for their gates to show.
        "local_expert_offset", "num_local_experts", "expert_map"};
    const bool limits = s % 3 != 1;
    if (limits) plan.keep_neutral.push_back("activation");  // the kind that takes a limit
    plan.hidden = draw.one_of(DType::bf16, DType::f32);
    std::optional<Case> subject = ordinary(b, s, "gates beyond 88", ordinary_logit, plan, draw);
    if (!subject) return subject;
    OwnedTensor& hidden = subject->tensors["hidden_states"];
    for (std::int64_t i = 0; i < hidden.elements(); ++i) hidden.set(i, 48.0f * hidden.get(i));
    // Limits that only such gates reach: gpt-oss's, and a larger one.
    MoeSpec limited = subject->spec;
    limited.experts.swiglu_limit = s % 3 == 0 ? 7.0 : 37.5;
    if (!b.given && limits && accepts(b.backend, limited)) subject->spec = limited;
    return subject;
  });
}

std::optional<Case> make_given(const SpecSource& source, std::uint64_t seed) {
  return simple(source, seed, [](auto& b, auto s, Plan& plan, Draw& draw) {
    // Ids beyond a byte, in both widths.
    if (s % 3 != 1) plan.sizes = kManyExperts;
    std::optional<Case> subject = start(b, s, "given routing", plan, draw);
    if (!subject) return subject;
    draw_given_routing(*subject, s % 3 == 0 ? DType::i32 : DType::i64,
                       draw.one_of(DType::f32, DType::bf16), false, draw);
    return subject;
  });
}

std::optional<Case> exact_case(const SpecSource& source, std::uint64_t seed) {
  if (source.given) return std::nullopt;
  Draw draw(seed);
  Plan plan;
  plan.sizes = draw_sizes(draw);
  plan.sizes.hidden = draw.one_of(40, 72);
  // What would round: constants of the activation, a factor on the output, a sigmoid gate.
  plan.keep_neutral = {"swiglu_alpha",       "swiglu_beta",
                       "swiglu_limit",       "apply_routed_scale_to_output",
                       "shared_expert_gate", "apply_router_weight_on_input",
                       "weight_format",      "output_dtype"};
  Case subject;
  subject.regime = "exact";
  subject.seed = seed;
  subject.statistical = false;
  const std::optional<MoeSpec> base = source.base(plan.sizes);
  if (!base) return std::nullopt;
  subject.spec = source.draw(*base, draw, plan.keep_neutral);
  plan.tokens = subject.spec.experts.hidden_size;
  MoeSpec wide = subject.spec;
  wide.layer.output_dtype = OutputDType::f32;
  if (accepts(source.backend, wide)) subject.spec = wide;
  if (subject.spec.experts.activation_format == ActivationFormat::fp8_e4m3) return std::nullopt;
  draw_tensors(subject, {plan.tokens, DType::bf16, DType::f32, Values::integers}, draw);
  draw_given_routing(subject, DType::i32, DType::f32, true, draw);
  return subject;
}

}  // namespace sluice::auditing
