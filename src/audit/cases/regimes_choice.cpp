// Who is chosen: ties, one expert for all, all experts, hundreds of them.
#include <limits>

#include "audit/cases/draw_tensors.hpp"
#include "audit/cases/plan.hpp"
#include "audit/cases/regime_makers.hpp"

namespace sluice::auditing {
namespace {

constexpr Sizes kMostChoices{512, 22, 16, 16};

// Every third token is ordinary; of the next, two neighbours each are equal; of the last, some are
// no number or never chosen. Sorting networks, warps and merges have code of their own for each
// size.
double mixed_logit(Draw& draw, std::int64_t token, std::int64_t expert, std::int64_t experts) {
  // The last experts, which a cut rest would hold, are chosen once for sure.
  const double lift = token == 3 && expert >= experts - 4 ? 6.0 : 0.0;
  if (token % 3 == 0) return lift + ordinary_logit(draw, token, expert, experts);
  Draw pair(static_cast<std::uint64_t>(token * experts + expert / 2));
  const double logit = ordinary_logit(pair, token, expert, experts);
  if (token % 3 == 1) return logit;
  const std::int64_t what = draw.integer(0, 15);
  return what == 0   ? std::numeric_limits<double>::quiet_NaN()
         : what == 1 ? -std::numeric_limits<double>::infinity()
                     : logit;
}

// So that equal logits are equal scores.
void pair_up(Case& subject, const char* bias) {
  const auto found = subject.tensors.find(bias);
  if (found == subject.tensors.end()) return;
  for (std::int64_t i = 1; i < found->second.elements(); i += 2) {
    found->second.set(i, found->second.get(i - 1));
  }
}

void scale_bias(Case& subject, double by) {
  const auto found = subject.tensors.find("e_score_correction_bias");
  if (found == subject.tensors.end()) return;
  for (std::int64_t i = 0; i < found->second.elements(); ++i) {
    found->second.set(i, static_cast<float>(by * found->second.get(i)));
  }
}

std::optional<Case> with_mixed_logits(const SpecSource& source, std::uint64_t seed,
                                      std::string_view regime, Plan plan, Draw& draw) {
  plan.tokens = 9;
  std::optional<Case> subject = ordinary(source, seed, regime, mixed_logit, plan, draw);
  if (!subject) return subject;
  pair_up(*subject, "router_bias");
  pair_up(*subject, "e_score_correction_bias");
  // Beside the scores of a softmax over hundreds the bias would choose the same for every token.
  if (subject->spec.router.score_func == ScoreFunc::softmax) {
    scale_bias(*subject, 8.0 / static_cast<double>(subject->spec.router.num_experts));
  }
  return subject;
}

}  // namespace

std::optional<Case> make_ties(const SpecSource& source, std::uint64_t seed) {
  return simple(source, seed, [](auto& b, auto s, Plan& plan, Draw& draw) {
    // Sorting networks, warps, a single maximum and logits of 16 bits break ties in code of their
    // own.
    if (s % 3 == 0) plan.sizes = {128, 8, 16, 16};
    if (s % 3 == 1) plan.tokens = 70;
    if (s % 3 == 2) plan.sizes.top_k = 1;
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
  return with_mixed_logits(source, seed, "many experts", plan, draw);
}

// Warps and tiles leave a rest, groups are no power of two.
std::optional<Case> make_odd_experts(const SpecSource& source, std::uint64_t seed) {
  Draw draw(seed);
  Plan plan;
  switch (seed % 3) {
    case 0:  // DeepSeek-V2's router: three groups of eight stay
      plan.sizes = {160, 6, 16, 16};
      plan.groups = {8, 3};
      break;
    case 1:  // Kimi-K2's
      plan.sizes = {384, 8, 16, 16};
      plan.score_func = ScoreFunc::sigmoid;
      break;
    case 2:
      plan.sizes = {84, 5, 16, 16};
      plan.groups = {3, 2};
  }
  return with_mixed_logits(source, seed, "experts of no power of two", plan, draw);
}

}  // namespace sluice::auditing
