// What a regime asks for, and how a case is made of it: sizes, spec, tensors, logits.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "audit/case.hpp"
#include "audit/cases/draw_routing.hpp"
#include "audit/cases/draw_spec.hpp"

namespace sluice::auditing {

// Ids beyond a byte, more choices than 8: Qwen3-Next's router.
inline constexpr Sizes kManyExperts{512, 10, 16, 16};

Sizes draw_sizes(Draw& draw);
DType draw_hidden_dtype(Draw& draw);

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

// The plan's spec with its tensors, without routing. nullopt: the backend takes no layer of any
// size.
std::optional<Case> start(const SpecSource& source, std::uint64_t seed, std::string_view regime,
                          const Plan& plan, Draw& draw);

// As above, with logits.
std::optional<Case> ordinary(const SpecSource& source, std::uint64_t seed, std::string_view regime,
                             LogitOf logit, const Plan& plan, Draw& draw, DType dtype = DType::f32);

// A plan with drawn sizes and nothing else.
template <typename Make>
std::optional<Case> simple(const SpecSource& source, std::uint64_t seed, Make make) {
  Draw draw(seed);
  Plan plan;
  plan.sizes = draw_sizes(draw);
  return make(source, seed, plan, draw);
}

}  // namespace sluice::auditing
