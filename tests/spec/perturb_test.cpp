#include <gtest/gtest.h>

#include <string>

#include <sluice/error.hpp>
#include <sluice/fields.hpp>

namespace sluice {
namespace {

MoeSpec roomy_spec(std::int64_t top_k) {
  MoeSpec spec;
  spec.router.num_experts = 24;
  spec.router.top_k = top_k;
  spec.experts.hidden_size = 40;
  spec.experts.intermediate_size = 48;
  return spec;
}

// Fields that mean nothing at K = 1, and those that mean something only there.
bool needs_several_slots(std::string_view key) {
  return key == "norm_topk_prob" || key == "norm_eps" || key == "norm_rule";
}

bool needs_one_slot(std::string_view key) {
  return key == "apply_router_weight_on_input" || key == "norm_single_expert";
}

class Perturb : public testing::TestWithParam<std::int64_t> {};

TEST_P(Perturb, MovesEveryFieldAndStaysValid) {
  const std::int64_t top_k = GetParam();
  for (const Field& field : fields()) {
    if (field.kind == FieldKind::size) continue;
    bool possible = true;
    if (top_k == 1) possible = !needs_several_slots(field.key);
    if (top_k != 1) possible = !needs_one_slot(field.key);
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
      MoeSpec spec = roomy_spec(top_k);
      ASSERT_EQ(field.perturb(spec, seed), possible) << field.name;
      if (!possible) break;
      EXPECT_FALSE(field.is_neutral(spec)) << field.name << " seed " << seed;
      EXPECT_NO_THROW(validate(spec)) << field.name << " seed " << seed;
      MoeSpec again = roomy_spec(top_k);
      field.perturb(again, seed);
      EXPECT_EQ(spec, again) << field.name << ": not a function of the seed";
      field.reset(spec);
      EXPECT_TRUE(field.is_neutral(spec)) << field.name;
    }
  }
}

// However the fields pile up, a perturbation that says yes leaves a valid spec.
TEST_P(Perturb, ComposesInAnyOrder) {
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    MoeSpec spec = roomy_spec(GetParam());
    std::string applied;
    for (std::size_t i = 0; i < fields().size(); ++i) {
      const Field& field = fields()[(i * 11 + seed) % fields().size()];
      if (field.perturb(spec, seed + i)) applied += std::string(field.name) + " ";
    }
    ASSERT_NO_THROW(validate(spec)) << applied << print_spec(spec);
    EXPECT_EQ(parse_spec(print_spec(spec)), spec) << print_spec(spec);
  }
}

INSTANTIATE_TEST_SUITE_P(TopK, Perturb, testing::Values(1, 5));

}  // namespace
}  // namespace sluice
