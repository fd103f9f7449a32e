// Numbers of tokens, and widths.
#include "audit/cases/plan.hpp"
#include "audit/cases/regime_makers.hpp"

namespace sluice::auditing {

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
  // Every rest that a multiple of 8 leaves of 16, 32 and 64.
  constexpr std::pair<std::int64_t, std::int64_t> kWidths[] = {{136, 144}, {312, 152}, {240, 280}};
  const auto [hidden, intermediate] = kWidths[seed % 3];
  plan.sizes = {4, 2, hidden, intermediate};
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

}  // namespace sluice::auditing
