#include "audit/cases/plan.hpp"

#include "audit/cases/draw_tensors.hpp"

namespace sluice::auditing {
namespace {

// What the plan wants and the backend takes. nullopt: it takes no layer of any size.
std::optional<MoeSpec> base_of(const SpecSource& source, const Plan& plan) {
  std::optional<MoeSpec> base = source.base(plan.sizes);
  if (!base || source.given) return base;
  const auto want = [&](auto change) {
    MoeSpec wanted = *base;
    change(wanted.router);
    if (accepts(source.backend, wanted)) base = wanted;
  };
  if (plan.score_func) want([&](RouterSpec& router) { router.score_func = *plan.score_func; });
  if (plan.normalised) want([](RouterSpec& router) { router.norm_topk_prob = true; });
  if (plan.groups.count > 1) {
    want([&](RouterSpec& router) {
      router.n_group = plan.groups.count;
      router.topk_group = plan.groups.kept;
    });
  }
  return base;
}

}  // namespace

Sizes draw_sizes(Draw& draw) {
  Sizes sizes;
  sizes.experts = draw.one_of(6, 8, 12, 16);
  // K = 1 is where the weight may go on the input.
  sizes.top_k = draw.one_of(1, 2, 3, 4);
  sizes.hidden = draw.one_of(8, 40, 72);
  sizes.intermediate = draw.one_of(16, 48, 96);
  // Blocks of 128 and 32 columns exist for the quantised formats alone.
  if (draw.integer(0, 5) == 0) sizes.hidden = sizes.intermediate = 128;
  return sizes;
}

DType draw_hidden_dtype(Draw& draw) { return draw.one_of(DType::bf16, DType::f32, DType::f16); }

std::optional<Case> start(const SpecSource& source, std::uint64_t seed, std::string_view regime,
                          const Plan& plan, Draw& draw) {
  const std::optional<MoeSpec> base = base_of(source, plan);
  if (!base) return std::nullopt;
  Case subject;
  subject.regime = regime;
  subject.seed = seed;
  subject.spec = source.draw(*base, draw, plan.keep_neutral);
  TensorPlan tensors;
  tensors.tokens = plan.tokens > 0 ? plan.tokens : draw.integer(3, 12);
  tensors.hidden = plan.hidden ? *plan.hidden : draw_hidden_dtype(draw);
  tensors.bias = plan.bias_in_bf16_too && draw.integer(0, 3) == 0 ? DType::bf16 : DType::f32;
  draw_tensors(subject, tensors, draw);
  return subject;
}

std::optional<Case> ordinary(const SpecSource& source, std::uint64_t seed, std::string_view regime,
                             LogitOf logit, const Plan& plan, Draw& draw, DType dtype) {
  std::optional<Case> subject = start(source, seed, regime, plan, draw);
  if (subject) draw_logits(*subject, dtype, draw, logit);
  return subject;
}

}  // namespace sluice::auditing
