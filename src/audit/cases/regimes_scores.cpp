// Logits and biases far from zero, in a narrow band, or no numbers at all.
#include <algorithm>
#include <limits>

#include "audit/cases/draw_tensors.hpp"
#include "audit/cases/plan.hpp"
#include "audit/cases/regime_makers.hpp"

namespace sluice::auditing {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Each score function in turn: far from zero they lose their digits in different ways. Softmax is
// the neutral one: left to the draw, it would hardly ever be here.
ScoreFunc score_of(std::uint64_t seed) { return static_cast<ScoreFunc>(seed % 4); }

std::optional<Case> with_each_score(const SpecSource& source, std::uint64_t seed,
                                    std::string_view regime, DType logits_dtype, LogitOf logit,
                                    Draw& draw) {
  Plan plan;
  plan.sizes = draw_sizes(draw);
  plan.score_func = score_of(seed);
  plan.keep_neutral = {"router_bias", "score_func"};
  // Scores that are next to nothing show where they are divided by their sum.
  plan.normalised = seed / 4 % 2 == 0 && plan.score_func != ScoreFunc::none;
  if (plan.normalised) {
    plan.sizes.top_k = std::max<std::int64_t>(plan.sizes.top_k, 2);
    for (const char* hides : {"norm_eps", "norm_rule", "weights_from_biased_scores"}) {
      plan.keep_neutral.push_back(hides);
    }
  }
  plan.bias_in_bf16_too = false;
  return ordinary(source, seed, regime, logit, plan, draw, logits_dtype);
}

}  // namespace

std::optional<Case> make_all_negative(const SpecSource& source, std::uint64_t seed) {
  Draw draw(seed);
  return with_each_score(
      source, seed, "all-negative logits", DType::f32,
      [](Draw& d, std::int64_t token, std::int64_t, std::int64_t) {
        // Half the tokens beyond -17, where the tanh form of sigmoid is zero.
        return token % 2 == 0 ? d.real(-12.0, -3.0) : d.real(-40.0, -18.0);
      },
      draw);
}

// exp of these overflows fp32 above 88 and vanishes below -88: only differences may be taken.
std::optional<Case> make_huge_logits(const SpecSource& source, std::uint64_t seed) {
  Draw draw(seed);
  const DType dtype = draw.one_of(DType::f32, DType::bf16);
  return with_each_score(
      source, seed, "huge logits", dtype,
      [](Draw& d, std::int64_t token, std::int64_t, std::int64_t) {
        return (token % 2 == 0 ? 110.0 : -110.0) + 2.0 * normal(d);
      },
      draw);
}

std::optional<Case> make_large_bias(const SpecSource& source, std::uint64_t seed) {
  return simple(source, seed, [](auto& b, auto s, Plan& plan, Draw& draw) {
    plan.bias_in_bf16_too = false;
    std::optional<Case> subject = ordinary(b, s, "bias around 12", ordinary_logit, plan, draw);
    if (!subject) return subject;
    draw_bias(*subject, "e_score_correction_bias", draw, 11.5, 12.5);
    draw_bias(*subject, "router_bias", draw, 11.0, 13.0);
    return subject;
  });
}

std::optional<Case> make_narrow_bias(const SpecSource& source, std::uint64_t seed) {
  return simple(source, seed, [](auto& b, auto s, Plan& plan, Draw& draw) {
    plan.bias_in_bf16_too = false;
    std::optional<Case> subject = ordinary(
        b, s, "narrow bias at an offset",
        [](Draw& d, std::int64_t, std::int64_t, std::int64_t) { return d.real(-0.05, 0.05); }, plan,
        draw);
    if (subject) draw_bias(*subject, "e_score_correction_bias", draw, 6.8, 7.06);
    return subject;
  });
}

std::optional<Case> make_non_finite(const SpecSource& source, std::uint64_t seed) {
  return simple(source, seed, [](auto& b, auto s, Plan& plan, Draw& draw) {
    plan.tokens = 10;
    // Without a score function an infinite logit would be an infinite weight.
    plan.score_func = static_cast<ScoreFunc>(s % 3);
    plan.keep_neutral = {"score_func"};
    std::optional<Case> made = ordinary(b, s, "NaN and infinite rows", ordinary_logit, plan, draw);
    if (!made) return made;
    Case& subject = *made;
    OwnedTensor& logits = subject.tensors["router_logits"];
    const std::int64_t experts = logits.shape()[1];
    const auto set = [&](std::int64_t token, std::int64_t first, std::int64_t end, float value) {
      for (std::int64_t e = first; e < end; ++e) logits.set(token * experts + e, value);
    };
    set(1, 0, 1, kNan);
    set(2, 0, experts, kNan);
    set(3, 0, experts, -kInf);
    set(4, 1, experts, kNan);
    set(5, experts / 2, experts, -kInf);
    set(6, 2, 3, -kInf);
    set(7, 1, 2, kInf);
    // Tokens that are themselves not finite (padding that nobody wrote) must stay alone with it.
    OwnedTensor& hidden = subject.tensors["hidden_states"];
    const std::int64_t width = hidden.shape()[1];
    for (std::int64_t i = 0; i < width; ++i) hidden.set(i, kNan);
    hidden.set(8 * width, kInf);
    return made;
  });
}

}  // namespace sluice::auditing
