// Who is chosen: ties, one expert for all, all experts, hundreds of them.
#include "audit/cases/draw_tensors.hpp"
#include "audit/cases/plan.hpp"
#include "audit/cases/regime_makers.hpp"

namespace sluice::auditing {
namespace {

constexpr Sizes kMostChoices{512, 22, 16, 16};

}  // namespace

std::optional<Case> make_ties(const SpecSource& source, std::uint64_t seed) {
  return simple(source, seed, [](auto& b, auto s, Plan& plan, Draw& draw) {
    // Sorting networks, warps and logits of 16 bits break ties in code of their own.
    if (s % 3 == 0) plan.sizes = {128, 8, 16, 16};
    if (s % 3 == 1) plan.tokens = 70;
    std::optional<Case> subject = ordinary(
        b, s, "exact ties",
        [](Draw& d, std::int64_t, std::int64_t, std::int64_t) {
          return d.one_of(-1.0, -0.0, 0.0, 0.5, 0.5);
        },
        plan, draw, s % 2 == 0 ? DType::bf16 : DType::f32);
    if (!subject) return subject;
    draw_bias(*subject, "e_score_correction_bias", draw, 0.25, 0.25);
    draw_bias(*subject, "router_bias", draw, -0.5, -0.5);
    return subject;
  });
}

// A near tie that is none: differences of a few fp32 steps at exactly representable scores.
std::optional<Case> make_near_ties(const SpecSource& source, std::uint64_t seed) {
  Draw draw(seed);
  Plan plan;
  plan.sizes = draw_sizes(draw);
  plan.keep_neutral = {"router_bias", "e_score_correction_bias", "weights_from_biased_scores",
                       "router_logits_dtype", "score_func"};
  return ordinary(
      source, seed, "near ties",
      [](Draw& d, std::int64_t, std::int64_t, std::int64_t) {
        return -1.0 + static_cast<double>(d.integer(0, 4000)) * 0x1p-14;
      },
      plan, draw);
}

std::optional<Case> make_hot_expert(const SpecSource& source, std::uint64_t seed) {
  return simple(source, seed, [](auto& b, auto s, Plan& plan, Draw& draw) {
    plan.tokens = 37;
    return ordinary(
        b, s, "one hot expert, others empty",
        [](Draw& d, std::int64_t, std::int64_t e, std::int64_t experts) {
          const double lift = e == experts - 1 ? 6.0 : e % 3 == 0 ? 2.0 : -4.0;
          return lift + 0.3 * normal(d);
        },
        plan, draw);
  });
}

std::optional<Case> make_every_expert(const SpecSource& source, std::uint64_t seed) {
  Draw draw(seed);
  Plan plan;
  plan.sizes = draw_sizes(draw);
  plan.sizes.experts = plan.sizes.top_k = draw.one_of(4, 6);
  return ordinary(source, seed, "every expert", ordinary_logit, plan, draw);
}

std::optional<Case> make_many_experts(const SpecSource& source, std::uint64_t seed) {
  Draw draw(seed);
  Plan plan;
  plan.tokens = 9;
  switch (seed % 4) {
    case 0:
      plan.sizes = kManyExperts;
      break;
    case 1:  // DeepSeek-V3's router: four groups of eight stay
      plan.sizes = {256, 8, 16, 16};
      plan.groups = {8, 4};
      plan.score_func = ScoreFunc::sigmoid;
      break;
    case 2:
      plan.sizes = kMostChoices;
      break;
    case 3:
      plan.sizes = {128, 8, 16, 16};
  }
  return ordinary(source, seed, "many experts", ordinary_logit, plan, draw);
}

}  // namespace sluice::auditing
