#include <gtest/gtest.h>

#include <set>

#include <sluice/error.hpp>
#include <sluice/presets.hpp>

namespace sluice {
namespace {

// docs/semantics.md, "Named methods", row by row.
RouterSpec expected_method(std::string_view name) {
  RouterSpec router;
  const auto norm = [&](double eps, NormRule rule = NormRule::add) {
    router.norm_topk_prob = true;
    router.norm_eps = eps;
    router.norm_rule = rule;
  };
  if (name == "Renormalize" || name == "Llama4" || name == "TopKSigmoid") {
    router.score_order = ScoreOrder::after_topk;
  }
  if (name == "DeepSeekV3" || name == "Llama4" || name == "SigmoidRenorm" || name == "MiniMax2" ||
      name == "Sigmoid" || name == "TopKSigmoid") {
    router.score_func = ScoreFunc::sigmoid;
  }
  if (name == "TopK") router.score_func = ScoreFunc::none;
  if (name == "DeepSeekV4") router.score_func = ScoreFunc::sqrt_softplus;
  if (name == "DeepSeekV3" || name == "MiniMax2" || name == "DeepSeekV4") {
    router.e_score_correction_bias = true;
    norm(1e-20);
  }
  if (name == "RenormalizeNaive") norm(0.0);
  if (name == "SigmoidRenorm") norm(1e-20, NormRule::clamp);
  if (name == "Llama4") router.apply_router_weight_on_input = true;
  return router;
}

TEST(RoutingMethods, AreTheTableOfSemantics) {
  const std::set<std::string_view> names{
      "Default",       "Renormalize", "DeepSeekV3", "Llama4",      "RenormalizeNaive", "TopK",
      "SigmoidRenorm", "MiniMax2",    "Sigmoid",    "TopKSigmoid", "DeepSeekV4"};
  ASSERT_EQ(routing_methods().size(), names.size());
  for (const RoutingMethod& method : routing_methods()) {
    ASSERT_TRUE(names.contains(method.name)) << method.name;
    RouterSpec router;
    method.apply(router);
    EXPECT_EQ(router, expected_method(method.name)) << method.name;
  }
}

// A method leaves what it does not define, and leaves nothing behind of the method before it.
TEST(RoutingMethods, KeepSizesGroupsAndFactorOnly) {
  RouterSpec before;
  before.num_experts = 48;
  before.top_k = 5;
  before.n_group = 6;
  before.topk_group = 2;
  before.routed_scaling_factor = 2.446;
  before.router_bias = true;
  before.apply_routed_scale_to_output = true;
  before.router_logits_dtype = LogitsDType::bf16;
  for (const RoutingMethod& first : routing_methods()) {
    for (const RoutingMethod& second : routing_methods()) {
      RouterSpec both = before;
      first.apply(both);
      second.apply(both);
      RouterSpec alone = before;
      second.apply(alone);
      EXPECT_EQ(both, alone) << first.name << ", then " << second.name;
      EXPECT_EQ(alone.num_experts, 48);
      EXPECT_EQ(alone.top_k, 5);
      EXPECT_EQ(alone.n_group, 6);
      EXPECT_EQ(alone.topk_group, 2);
      EXPECT_EQ(alone.routed_scaling_factor, 2.446);
      EXPECT_TRUE(alone.router_bias && alone.apply_routed_scale_to_output);
      EXPECT_EQ(alone.router_logits_dtype, LogitsDType::bf16);
    }
  }
}

TEST(Families, AreValidDistinctAndRoundTrip) {
  std::set<std::string_view> names;
  for (const Family& family : families()) {
    EXPECT_TRUE(names.insert(family.name).second) << family.name;
    EXPECT_NO_THROW(validate(family.spec)) << family.name;
    EXPECT_EQ(parse_spec(print_spec(family.spec)), family.spec) << family.name;
  }
  EXPECT_GE(names.size(), 20u);
}

// The factors whose loss this project is about.
TEST(Families, CarryTheirFactors) {
  EXPECT_EQ(family("deepseek-v2").spec.router.routed_scaling_factor, 16.0);
  EXPECT_EQ(family("deepseek-v3").spec.router.routed_scaling_factor, 2.5);
  EXPECT_EQ(family("kimi-k2").spec.router.routed_scaling_factor, 2.827);
  EXPECT_EQ(family("kimi-linear-48b-a3b").spec.router.routed_scaling_factor, 2.446);
  EXPECT_EQ(family("trinity-mini").spec.router.routed_scaling_factor, 2.826);
  EXPECT_EQ(family("glm-4.5-air").spec.router.routed_scaling_factor, 1.0);
}

// Families without a config reader, from docs/semantics.md's table.
TEST(Families, LlamaAndNemotron) {
  const MoeSpec& scout = family("llama-4-scout").spec;
  EXPECT_EQ(scout.router.top_k, 1);
  EXPECT_EQ(scout.router.score_order, ScoreOrder::after_topk);
  EXPECT_TRUE(scout.router.apply_router_weight_on_input);
  EXPECT_EQ(shared_width(scout), 8192);
  const MoeSpec& nemotron = family("nemotron-3-nano-30b-a3b").spec;
  EXPECT_EQ(nemotron.experts.activation, Activation::relu2);
  EXPECT_EQ(gate_up_rows(nemotron.experts), 1856);
  EXPECT_EQ(shared_width(nemotron), 3712);
  EXPECT_EQ(nemotron.router.num_experts, 128);
  EXPECT_EQ(nemotron.router.top_k, 6);
  EXPECT_TRUE(nemotron.router.e_score_correction_bias);
}

TEST(Presets, UnknownNamesGetTheNearest) {
  const auto message = [](auto&& call) -> std::string {
    try {
      call();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::user);
      return error.what();
    }
    return "accepted";
  };
  EXPECT_NE(message([] { routing_method("DeepseekV3"); }).find("did you mean \"DeepSeekV3\""),
            std::string::npos);
  EXPECT_NE(message([] { family("kimi-linear"); }).find("kimi-linear-48b-a3b"), std::string::npos);
}

}  // namespace
}  // namespace sluice
