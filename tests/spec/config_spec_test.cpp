#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>

#include <sluice/error.hpp>
#include <sluice/presets.hpp>

namespace sluice {
namespace {

using nlohmann::json;

std::string read_file(const std::string& name) {
  std::ifstream file(std::filesystem::path(SLUICE_TEST_DATA) / "configs" / name);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

json config(const std::string& name) { return json::parse(read_file(name + ".json")); }

MoeSpec without_formats(MoeSpec spec) {
  spec.experts.weight_format = ExpertSpec{}.weight_format;
  spec.experts.activation_format = ExpertSpec{}.activation_format;
  return spec;
}

// Saying the default width of the shared block says nothing.
MoeSpec canonical(MoeSpec spec) {
  if (spec.layer.shared_intermediate_size ==
      spec.layer.num_shared_experts * spec.experts.intermediate_size) {
    spec.layer.shared_intermediate_size = 0;
  }
  return without_formats(spec);
}

std::string complaint(const json& config) {
  try {
    spec_from_config(config.dump());
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::checkpoint) << error.what();
    return error.what();
  }
  return "accepted";
}

TEST(SpecFromConfig, PublishedConfigsMeanWhatTransformersComputes) {
  const json expected = json::parse(read_file("expected.json")).at("specs");
  ASSERT_GE(expected.size(), 15u);
  for (const auto& [name, spec] : expected.items()) {
    EXPECT_EQ(print_spec(canonical(spec_from_config(config(name).dump()))),
              print_spec(canonical(parse_spec(spec.dump()))))
        << name;
  }
}

// The presets were written from docs/semantics.md, the configs from the published files.
TEST(SpecFromConfig, AgreesWithTheFamilies) {
  const std::pair<const char*, const char*> pairs[] = {
      {"deepseek_v2", "deepseek-v2"},
      {"deepseek_v3", "deepseek-v3"},
      {"ernie_4_5_21b_a3b", "ernie-4.5-21b-a3b"},
      {"glm_4_5", "glm-4.5"},
      {"gpt_oss_20b", "gpt-oss-20b"},
      {"kimi_linear_48b", "kimi-linear-48b-a3b"},
      {"minimax_m2", "minimax-m2"},
      {"mixtral_8x7b", "mixtral-8x7b"},
      {"olmoe_1b_7b", "olmoe-1b-7b"},
      {"qwen3_30b_a3b", "qwen3-30b-a3b"},
      {"qwen3_next_80b_a3b", "qwen3-next-80b-a3b"},
      {"trinity_mini", "trinity-mini"},
      {"trinity_nano", "trinity-nano"},
  };
  for (const auto& [file, name] : pairs) {
    EXPECT_EQ(without_formats(spec_from_config(config(file).dump())), family(name).spec) << name;
  }
}

TEST(SpecFromConfig, KimiK2IsDeepSeekV3WithItsOwnNumbers) {
  json k2 = config("deepseek_v3");
  k2.update({{"model_type", "kimi_k2"},
             {"n_routed_experts", 384},
             {"n_group", 1},
             {"topk_group", 1},
             {"routed_scaling_factor", 2.827}});
  EXPECT_EQ(without_formats(spec_from_config(k2.dump())), family("kimi-k2").spec);
}

TEST(SpecFromConfig, FormatsComeFromQuantisationOrDtype) {
  const auto experts = [](const json& config) { return spec_from_config(config.dump()).experts; };
  EXPECT_EQ(experts(config("deepseek_v3")).weight_format, WeightFormat::fp8_e4m3_block128);
  EXPECT_EQ(experts(config("deepseek_v3")).activation_format, ActivationFormat::bf16);
  EXPECT_EQ(experts(config("gpt_oss_20b")).weight_format, WeightFormat::mxfp4);
  EXPECT_EQ(experts(config("gpt_oss_20b")).activation_format, ActivationFormat::bf16);
  json trinity = config("trinity_mini");
  EXPECT_EQ(experts(trinity).weight_format, WeightFormat::bf16);
  trinity["dtype"] = "float32";
  EXPECT_EQ(experts(trinity).weight_format, WeightFormat::f32);
  EXPECT_EQ(experts(trinity).activation_format, ActivationFormat::f32);
  trinity["torch_dtype"] = "float16";
  EXPECT_NE(complaint(trinity).find("dtype is \"float32\" but torch_dtype is \"float16\""),
            std::string::npos);
}

TEST(SpecFromConfig, AfmoeVariants) {
  json trinity = config("trinity_mini");
  trinity.update({{"n_group", 8},
                  {"topk_group", 3},
                  {"num_expert_groups", 8},
                  {"num_limited_groups", 3},
                  {"route_scale", 1.75}});
  MoeSpec spec = spec_from_config(trinity.dump());
  EXPECT_EQ(spec.router.n_group, 8);
  EXPECT_EQ(spec.router.topk_group, 3);
  EXPECT_EQ(spec.router.routed_scaling_factor, 1.75);
  trinity["route_norm"] = false;
  EXPECT_FALSE(spec_from_config(trinity.dump()).router.norm_topk_prob);
  trinity.update({{"route_norm", true}, {"score_func", "softmax"}});
  spec = spec_from_config(trinity.dump());
  EXPECT_EQ(spec.router.score_func, ScoreFunc::softmax);
  EXPECT_FALSE(spec.router.norm_topk_prob);  // the norm belongs to sigmoid
  // What transformers writes has neither key.
  for (const char* key : {"route_norm", "score_func", "n_group", "topk_group", "num_expert_groups",
                          "num_limited_groups"}) {
    trinity.erase(key);
  }
  spec = spec_from_config(trinity.dump());
  EXPECT_EQ(spec.router.score_func, ScoreFunc::sigmoid);
  EXPECT_TRUE(spec.router.norm_topk_prob);
  EXPECT_EQ(spec.router.n_group, 1);
}

// Every family that divides by the sum divides a single weight by itself, and no other does.
TEST(SpecFromConfig, ASingleExpertIsNormalisedWhereSeveralAre) {
  struct Case {
    const char *file, *top_k;
    bool divides;
  };
  for (const Case& c :
       {Case{"trinity_mini", "num_experts_per_tok", true},
        Case{"kimi_linear_48b", "num_experts_per_token", true},
        Case{"deepseek_v3", "num_experts_per_tok", true},
        Case{"glm_4_5", "num_experts_per_tok", true},
        Case{"minimax_m2", "num_experts_per_tok", true}, Case{"ernie_4_5_21b_a3b", "moe_k", true},
        Case{"mixtral_8x7b", "num_experts_per_tok", true},
        Case{"qwen3_30b_a3b", "num_experts_per_tok", true},
        Case{"olmoe_1b_7b", "num_experts_per_tok", false},
        Case{"deepseek_v2", "num_experts_per_tok", false}}) {
    json single = config(c.file);
    EXPECT_FALSE(spec_from_config(single.dump()).router.norm_single_expert) << c.file;
    single[c.top_k] = 1;
    const RouterSpec router = spec_from_config(single.dump()).router;
    EXPECT_EQ(router.norm_topk_prob, c.divides) << c.file;
    EXPECT_EQ(router.norm_single_expert, c.divides) << c.file;
  }
}

TEST(SpecFromConfig, RefusesByName) {
  struct Case {
    const char* file;
    json change;
    const char* expected;
  };
  const Case cases[] = {
      {"trinity_mini", {{"score_func", "tanh"}}, "score_func is \"tanh\""},
      {"trinity_mini", {{"hidden_act", "relu"}}, "hidden_act is \"relu\""},
      {"trinity_mini", {{"num_expert_groups", 2}}, "n_group is 1 but num_expert_groups is 2"},
      {"trinity_mini", {{"topk_group", 2}}, "topk_group is 2 but num_limited_groups is 1"},
      {"trinity_mini", {{"num_experts", 128.0}}, "num_experts is 128.0; a whole number"},
      {"trinity_mini", {{"num_experts", "128"}}, "num_experts is \"128\""},
      {"trinity_mini", {{"num_experts", 0}}, "num_experts is 0; it must lie between 1 and"},
      {"trinity_mini",
       {{"num_experts", 18446744073709551615u}},
       "is 18446744073709551615; it must lie"},
      {"trinity_mini", {{"num_experts", nullptr}}, "no num_experts or num_local_experts"},
      {"trinity_mini", {{"route_scale", nullptr}}, "no route_scale"},
      {"trinity_mini", {{"route_scale", "2.8"}}, "route_scale is \"2.8\""},
      {"trinity_mini", {{"route_scale", 1e31}}, "route_scale is 1e+31; it must lie"},
      {"trinity_mini", {{"route_norm", 1}}, "route_norm is 1; true or false"},
      {"trinity_mini", {{"num_experts_per_tok", 129}}, "router.top_k is 129"},
      {"trinity_mini", {{"num_shared_experts", -1}}, "num_shared_experts is -1"},
      {"trinity_mini", {{"dtype", "float8"}}, "dtype is \"float8\""},
      {"trinity_mini", {{"model_type", "afmoee"}}, "did you mean \"afmoe\""},
      {"trinity_mini", {{"model_type", nullptr}}, "no model_type"},
      // Keys of other families are not ignored.
      {"trinity_mini", {{"routed_scaling_factor", 2.5}}, "routed_scaling_factor is 2.5"},
      {"mixtral_8x7b", {{"routed_scaling_factor", 2.5}}, "routed_scaling_factor is 2.5"},
      {"mixtral_8x7b", {{"norm_topk_prob", false}}, "norm_topk_prob is false"},
      {"mixtral_8x7b", {{"scoring_func", "sigmoid"}}, "scoring_func is \"sigmoid\""},
      {"mixtral_8x7b", {{"n_shared_experts", 1}}, "n_shared_experts is 1"},
      {"qwen3_30b_a3b",
       {{"shared_expert_intermediate_size", 512}},
       "shared_expert_intermediate_size is 512"},
      {"qwen3_30b_a3b", {{"mlp_bias", true}}, "mlp_bias is true"},
      {"olmoe_1b_7b", {{"swiglu_limit", 7.0}}, "swiglu_limit is 7.0"},
      {"glm_4_5", {{"moe_latent_size", 1024}}, "moe_latent_size is 1024"},
      {"glm_4_5", {{"scoring_func", "softmax"}}, "scoring_func is \"softmax\""},
      {"qwen3_30b_a3b", {{"norm_topk_prob", nullptr}}, "no norm_topk_prob"},
      {"kimi_linear_48b",
       {{"moe_router_activation_func", "relu"}},
       "moe_router_activation_func is \"relu\""},
      {"kimi_linear_48b", {{"num_local_experts", 128}}, "num_experts is 256 but num_local_experts"},
      {"kimi_linear_48b",
       {{"norm_topk_prob", false}},
       "moe_renormalize is true but norm_topk_prob"},
      {"kimi_linear_48b", {{"num_experts_per_tok", 4}}, "num_experts_per_token is 8 but"},
      {"kimi_linear_48b", {{"n_group", 2}}, "num_expert_group is 1 but n_group is 2"},
      {"kimi_linear_48b", {{"n_shared_experts", 2}}, "num_shared_experts is 1 but"},
      {"kimi_linear_48b", {{"num_expert_group", 2}, {"topk_group", nullptr}}, "no topk_group"},
      {"kimi_linear_48b",
       {{"num_expert_group", 2}, {"use_grouped_topk", false}},
       "num_expert_group is 2"},
      {"kimi_linear_48b", {{"moe_renormalize", nullptr}}, "no moe_renormalize or norm_topk_prob"},
      {"deepseek_v3", {{"topk_method", "greedy"}}, "topk_method is \"greedy\""},
      {"deepseek_v3", {{"scoring_func", "softmax"}}, "scoring_func is \"softmax\""},
      {"deepseek_v3", {{"n_group", nullptr}}, "no n_group"},
      {"deepseek_v3", {{"n_group", 7}}, "router.n_group 7"},
      {"deepseek_v3", {{"quantization_config", {{"quant_method", "awq"}}}}, "\"awq\""},
      {"deepseek_v3",
       {{"quantization_config", {{"quant_method", "fp8"}, {"weight_block_size", {64, 128}}}}},
       "weight_block_size is [64,128]"},
      {"deepseek_v3",
       {{"quantization_config", {{"quant_method", "fp8"}, {"activation_scheme", "static"}}}},
       "activation_scheme is \"static\""},
      {"deepseek_v3",
       {{"quantization_config", {{"quant_method", "fp8"}, {"fmt", "e5m2"}}}},
       "fmt is \"e5m2\""},
      {"deepseek_v3", {{"quantization_config", 3}}, "quantization_config is 3; an object"},
      {"gpt_oss_20b",
       {{"quantization_config",
         {{"quant_method", "mxfp4"}, {"modules_to_not_convert", {"mlp.experts.3"}}}}},
       "modules_to_not_convert"},
      {"gpt_oss_20b", {{"experts_per_token", 2}}, "experts_per_token is 2"},
      {"gpt_oss_20b", {{"hidden_act", "gelu"}}, "hidden_act is \"gelu\""},
      {"deepseek_v2", {{"norm_topk_prob", true}}, "norm_topk_prob is true"},
      {"deepseek_v2", {{"topk_method", "noaux_tc"}}, "topk_method is \"noaux_tc\""},
      {"minimax_m2", {{"shared_intermediate_size", 512}}, "shared_intermediate_size is 512"},
      {"ernie_4_5_21b_a3b", {{"use_bias", true}}, "use_bias is true"},
      {"ernie_4_5_21b_a3b", {{"moe_gate_act", "sigmoid"}}, "moe_gate_act is \"sigmoid\""},
      {"ernie_4_5_21b_a3b", {{"moe_num_experts", {64, 64}}}, "moe_num_experts is [64,64]"},
  };
  for (const auto& [file, change, expected] : cases) {
    json changed = config(file);
    changed.update(change);
    const std::string text = complaint(changed);
    EXPECT_NE(text.find(expected), std::string::npos)
        << file << " with " << change << "\n expected: " << expected << "\n got: " << text;
  }
}

TEST(SpecFromConfig, BadJson) {
  for (const char* text : {"", "{", "[]", "null", R"({"model_type": 3})",
                           R"({"model_type": "afmoe", "model_type": "mixtral"})"}) {
    try {
      spec_from_config(text);
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::checkpoint);
    }
  }
  EXPECT_THROW(spec_from_config(R"({"a": )" + std::string(200'000, '[')), Error);
}

}  // namespace
}  // namespace sluice
