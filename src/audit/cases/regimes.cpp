#include <array>

#include "audit/cases/draw_tensors.hpp"
#include "audit/cases/plan.hpp"
#include "audit/cases/regime_makers.hpp"

namespace sluice::auditing {
namespace {

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
    Regime{"odd-experts", "E = 84 to 384, no power of two; 3 groups, and 3 of 8", "CLM", false,
           make_odd_experts},
    Regime{"exact", "small integers: the bound is zero", "HIN", false, exact_case},
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

}  // namespace sluice::auditing
