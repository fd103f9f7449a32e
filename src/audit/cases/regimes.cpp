#include "audit/cases/regime.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "audit/cases/draw_routing.hpp"
#include "audit/cases/draw_spec.hpp"
#include "audit/cases/draw_tensors.hpp"

namespace sluice::auditing {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Ids beyond a byte, more choices than 8: Qwen3-Next's router.
constexpr Sizes kManyExperts{512, 10, 16, 16};
constexpr Sizes kMostChoices{512, 22, 16, 16};

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

struct Groups {
  std::int64_t count = 1;
  std::int64_t kept = 1;
};

struct Plan {
  Sizes sizes;
  std::vector<std::string_view> keep_neutral;
  std::int64_t tokens = 0;              // 0: drawn
  std::optional<DType> hidden;          // drawn
  std::optional<ScoreFunc> score_func;  // drawn
  Groups groups;                        // drawn, where there are none
  bool normalised = false;              // drawn
  bool bias_in_bf16_too = true;
};

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
                             LogitOf logit, const Plan& plan, Draw& draw,
                             DType dtype = DType::f32) {
  std::optional<Case> subject = start(source, seed, regime, plan, draw);
  if (subject) draw_logits(*subject, dtype, draw, logit);
  return subject;
}

template <typename Make>
std::optional<Case> simple(const SpecSource& source, std::uint64_t seed, Make make) {
  Draw draw(seed);
  Plan plan;
  plan.sizes = draw_sizes(draw);
  return make(source, seed, plan, draw);
}

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

// Gates beyond 88, where a sigmoid by exp(x) / (1 + exp(x)) is NaN.
std::optional<Case> make_large_gates(const SpecSource& source, std::uint64_t seed) {
  return simple(source, seed, [](auto& b, auto s, Plan& plan, Draw& draw) {
    plan.keep_neutral = {"activation_format", "output_dtype"};  // f16 overflows, rightly
    if (s % 2 == 0) plan.keep_neutral.push_back("activation");  // the kind that takes a limit
    plan.hidden = draw.one_of(DType::bf16, DType::f32);
    std::optional<Case> subject = ordinary(b, s, "gates beyond 88", ordinary_logit, plan, draw);
    if (!subject) return subject;
    OwnedTensor& hidden = subject->tensors["hidden_states"];
    for (std::int64_t i = 0; i < hidden.elements(); ++i) hidden.set(i, 48.0f * hidden.get(i));
    // A limit that only such gates reach.
    MoeSpec limited = subject->spec;
    limited.experts.swiglu_limit = 37.5;
    if (!b.given && s % 2 == 0 && accepts(b.backend, limited)) subject->spec = limited;
    return subject;
  });
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

std::optional<Case> make_given(const SpecSource& source, std::uint64_t seed) {
  return simple(source, seed, [](auto& b, auto s, Plan& plan, Draw& draw) {
    if (s % 3 == 0) plan.sizes = kManyExperts;
    std::optional<Case> subject = start(b, s, "given routing", plan, draw);
    if (!subject) return subject;
    draw_given_routing(*subject, draw.one_of(DType::i32, DType::i64),
                       draw.one_of(DType::f32, DType::bf16), false, draw);
    return subject;
  });
}

std::optional<Case> make_one_token(const SpecSource& source, std::uint64_t seed) {
  return simple(source, seed, [](auto& b, auto s, Plan& plan, Draw& draw) {
    plan.tokens = 1;
    return ordinary(b, s, "one token", ordinary_logit, plan, draw);
  });
}

std::optional<Case> make_tiles(const SpecSource& source, std::uint64_t seed) {
  return simple(source, seed, [](auto& b, auto s, Plan& plan, Draw& draw) {
    plan.sizes.hidden = 40;
    plan.sizes.intermediate = 16;
    plan.tokens = draw.one_of(2, 15, 16) + draw.integer(0, 2) + 16 * draw.integer(0, 1) +
                  64 * draw.integer(0, 1);
    return ordinary(b, s, "tokens around tiles", ordinary_logit, plan, draw);
  });
}

std::optional<Case> make_wide(const SpecSource& source, std::uint64_t seed) {
  Draw draw(seed);
  Plan plan;
  plan.sizes = {4, 2, draw.one_of(136, 200, 264), draw.one_of(144, 272)};
  plan.tokens = draw.integer(2, 5);
  return ordinary(source, seed, "widths off the 128 grid", ordinary_logit, plan, draw);
}

// Inner products longer than one block of any kernel, off its grid.
std::optional<Case> make_deep(const SpecSource& source, std::uint64_t seed) {
  Draw draw(seed);
  Plan plan;
  const bool hidden = seed % 2 == 0;
  plan.sizes = {2, draw.integer(1, 2), hidden ? 2056 : 40, hidden ? 16 : 2064};
  plan.tokens = 2;
  return ordinary(source, seed, "deep", ordinary_logit, plan, draw);
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

std::optional<Case> make_exact(const SpecSource& source, std::uint64_t seed) {
  return exact_case(source, seed);
}

// More tokens than a 16-bit row index or a grid's second dimension can count, and than any chunk in
// which a backend may take them. Whatever is lost from some token on, a field must be there to
// lose.
std::optional<Case> make_many_tokens(const SpecSource& source, std::uint64_t seed) {
  if (source.given) return std::nullopt;
  Draw draw(seed);
  Plan plan;
  plan.sizes = {4, 2, 8, 8};
  plan.tokens = 65537 + draw.integer(0, 40);
  plan.hidden = DType::bf16;
  return ordinary(source, seed, "more than 65535 tokens", ordinary_logit, plan, draw);
}

constexpr std::array kRegimes{
    Regime{"random", "every claimed field that fits, all at once", "ABCDEFGHIJKLMNOPQ", false,
           make_random},
    Regime{"sparse", "a third of the fields", "ABCDEFGHIJNQ", false, make_sparse},
    Regime{"all-negative", "every logit negative, half of them below -17", "CD", false,
           make_all_negative},
    Regime{"huge-logits", "logits around 110 and -110", "CD", false, make_huge_logits},
    Regime{"large-gates", "gates beyond 88", "E", false, make_large_gates},
    Regime{"large-bias", "biases around 12", "C", false, make_large_bias},
    Regime{"narrow-bias", "biases in [6.8, 7.06]", "D", false, make_narrow_bias},
    Regime{"ties", "equal scores", "M", false, make_ties},
    Regime{"near-ties", "scores a few steps apart", "DM", false, make_near_ties},
    Regime{"non-finite", "NaN and infinite logits and tokens", "JM", false, make_non_finite},
    Regime{"hot-expert", "one expert gets every token, others none", "BCGJ", false,
           make_hot_expert},
    Regime{"every-expert", "K = E", "CFG", false, make_every_expert},
    Regime{"given", "ids and weights given", "ABFGHJO", false, make_given},
    Regime{"one-token", "T = 1", "JKP", false, make_one_token},
    Regime{"tiles", "T around multiples of 16", "JOP", false, make_tiles},
    Regime{"wide", "H and I off the 128 grid", "IJNQ", false, make_wide},
    Regime{"deep", "H or I beyond 2048", "IN", false, make_deep},
    Regime{"many-experts", "E = 128 to 512, K = 8 to 22, 4 groups of 8", "CLM", false,
           make_many_experts},
    Regime{"exact", "small integers: the bound is zero", "HIN", false, make_exact},
    Regime{"many-tokens", "T > 65535", "LP", true, make_many_tokens},
};

}  // namespace

std::span<const Regime> regimes() { return kRegimes; }

Case plain_case(const MoeSpec& spec, std::uint64_t seed, std::int64_t tokens) {
  Draw draw(seed);
  Case subject;
  subject.regime = "plain";
  subject.seed = seed;
  subject.spec = spec;
  draw_tensors(subject, {tokens, draw_hidden_dtype(draw), DType::f32, Values::random}, draw);
  draw_logits(subject, DType::f32, draw, ordinary_logit);
  return subject;
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
