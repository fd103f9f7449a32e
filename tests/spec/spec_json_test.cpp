#include <gtest/gtest.h>

#include <string>

#include <sluice/error.hpp>
#include <sluice/spec.hpp>

namespace sluice {
namespace {

constexpr const char* kSizes = R"("num_experts": 16, "top_k": 3)";
constexpr const char* kExperts = R"("experts": {"hidden_size": 24, "intermediate_size": 40})";

std::string with_router(const std::string& fields) {
  return std::string("{\"router\": {") + kSizes + fields + "}, " + kExperts + "}";
}

std::string error_of(const std::string& text) {
  try {
    parse_spec(text);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::user);
    return error.what();
  }
  return "accepted";
}

void expect_error(const std::string& text, const std::string& part) {
  const std::string message = error_of(text);
  EXPECT_NE(message.find(part), std::string::npos) << "got: " << message << "\nwanted: " << part;
}

TEST(SpecJson, ReadsTheDocumentedExample) {
  const MoeSpec spec = parse_spec(R"(
    {"router":  {"num_experts": 256, "top_k": 8, "routing_method": "DeepSeekV3", "n_group": 8,
                 "topk_group": 4, "routed_scaling_factor": 2.5},
     "experts": {"hidden_size": 7168, "intermediate_size": 2048, "activation": "swiglu",
                 "weight_format": "bf16"},
     "layer":   {"num_shared_experts": 1, "shared_intermediate_size": 2048,
                 "local_expert_offset": 0, "num_local_experts": 256}})");
  EXPECT_EQ(spec.router.score_func, ScoreFunc::sigmoid);
  EXPECT_TRUE(spec.router.e_score_correction_bias);
  EXPECT_TRUE(spec.router.norm_topk_prob);
  EXPECT_EQ(spec.router.norm_eps, 1e-20);
  EXPECT_EQ(spec.router.n_group, 8);
  EXPECT_EQ(spec.router.routed_scaling_factor, 2.5);
  EXPECT_EQ(spec.layer.num_local_experts, 256);
  EXPECT_EQ(parse_spec(print_spec(spec)), spec);
}

TEST(SpecJson, FieldsOverrideThePresetWhereverTheyStand) {
  const MoeSpec spec = parse_spec(
      with_router(R"(, "norm_topk_prob": false, "norm_eps": 0, "routing_method": "DeepSeekV3")"));
  EXPECT_FALSE(spec.router.norm_topk_prob);
  EXPECT_EQ(spec.router.score_func, ScoreFunc::sigmoid);
}

TEST(SpecJson, UnknownKeysAndNamesAreErrorsWithTheNearestKnown) {
  expect_error(with_router(R"(, "routed_scale_factor": 2)"),
               "did you mean \"routed_scaling_factor\"?");
  expect_error(with_router(R"(, "score_func": "sigmoyd")"), "did you mean \"sigmoid\"?");
  expect_error(with_router(R"(, "routing_method": "DeepSeekV4x")"), "DeepSeek");
  expect_error(R"({"ruoter": {}})", "did you mean \"router\"?");
}

TEST(SpecJson, WrongTypesSayWhatTheyGot) {
  expect_error(with_router(R"(, "n_group": 2.5)"), "router.n_group is 2.5");
  expect_error(with_router(R"(, "n_group": 18446744073709551615)"), "router.n_group is 1844");
  expect_error(with_router(R"(, "router_bias": 1)"), "router.router_bias is 1");
  expect_error(with_router(R"(, "routed_scaling_factor": "2")"), "router.routed_scaling_factor");
  expect_error(with_router(R"(, "routed_scaling_factor": 1e999)"), "beyond the range of double");
  expect_error(R"({"router": 3})", "router is 3");
  expect_error("[]", "the spec holds array");
  expect_error("{", "not JSON");
}

// What memory holds for "all" and "none" is no value: a file says it by leaving the field out.
TEST(SpecJson, AllExpertsAndNoMapAreSaidByLeavingThemOut) {
  const auto with_layer = [](const char* fields) {
    return R"({"router": {"num_experts": 4, "top_k": 2}, )" + std::string(kExperts) +
           R"(, "layer": {)" + fields + "}}";
  };
  expect_error(with_layer(R"("num_local_experts": -1)"),
               "layer.num_local_experts is -1; give 0 … router.num_experts, or leave it out");
  expect_error(with_layer(R"("num_local_experts": -2)"), "layer.num_local_experts is -2");
  expect_error(with_layer(R"("expert_map": [])"), "layer.expert_map is []; give an entry per");
  const MoeSpec spec = parse_spec(with_layer(""));
  EXPECT_EQ(spec.layer.num_local_experts, kAllExperts);
  EXPECT_EQ(parse_spec(print_spec(spec)), spec);
  EXPECT_EQ(parse_spec(with_layer(R"("num_local_experts": 0)")).layer.num_local_experts, 0);
}

TEST(SpecJson, AKeyGivenTwiceIsAnError) {
  expect_error(with_router(R"(, "routed_scaling_factor": 2.0, "routed_scaling_factor": 3.0)"),
               "\"routed_scaling_factor\" twice");
}

TEST(SpecJson, DeepNestingIsAnErrorNotAStackOverflow) {
  expect_error(std::string(200000, '['), "nests deeper");
}

TEST(SpecJson, ReadsExpertMaps) {
  const std::string text = R"({"router": {"num_experts": 4, "top_k": 2}, )" +
                           std::string(kExperts) + R"(, "layer": {"expert_map": [1, -1, 0, -1]}})";
  const MoeSpec spec = parse_spec(text);
  EXPECT_EQ(local_expert_count(spec), 2);
  EXPECT_EQ(local_expert(spec, 0), 1);
  EXPECT_EQ(local_expert(spec, 1), -1);
  EXPECT_EQ(parse_spec(print_spec(spec)), spec);
}

}  // namespace
}  // namespace sluice
