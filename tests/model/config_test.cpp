// config.json: what it says about tensors and layers, and what is refused, by name.
#include <gtest/gtest.h>

#include <cctype>
#include <fstream>
#include <sstream>

#include <sluice/error.hpp>

#include "model/golden.hpp"

namespace sluice {
namespace {

using nlohmann::json;

std::string text_of(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

json published(const std::string& name) {
  return json::parse(
      text_of(std::filesystem::path(SLUICE_TEST_DATA) / "configs" / (name + ".json")));
}

std::optional<Shape> shape_of(const ModelDescription& description, const std::string& name) {
  for (const ExpectedTensor& tensor : description.tensors) {
    if (tensor.name == name) return tensor.shape;
  }
  return std::nullopt;
}

TEST(Describe, TrinityMini) {
  const ModelDescription model = describe_model(published("trinity_mini").dump());
  EXPECT_EQ(model.model_type, "afmoe");
  EXPECT_EQ(model.tensors.size(), 12031u);
  EXPECT_EQ(model.max_positions, 131072);
  ASSERT_EQ(model.layers.size(), 32u);
  EXPECT_EQ(model.layers[2].mixer, "sliding_attention");
  EXPECT_EQ(model.layers[3].mixer, "full_attention");
  EXPECT_FALSE(model.layers[1].moe);
  ASSERT_TRUE(model.layers[2].moe);
  EXPECT_EQ(model.layers[2].moe->router.routed_scaling_factor, 2.826);
  EXPECT_EQ(shape_of(model, "model.layers.5.self_attn.q_proj.weight"), Shape({4096, 2048}));
  EXPECT_EQ(shape_of(model, "model.layers.5.self_attn.k_proj.weight"), Shape({512, 2048}));
  EXPECT_EQ(shape_of(model, "model.layers.31.mlp.experts.127.down_proj.weight"),
            Shape({2048, 1024}));
  EXPECT_EQ(shape_of(model, "model.layers.1.mlp.gate_proj.weight"), Shape({6144, 2048}));
  EXPECT_EQ(shape_of(model, "model.layers.2.mlp.expert_bias"), Shape({128}));
}

TEST(Describe, KimiLinearInEveryDialect) {
  for (const char* name : {"kimi_linear_48b", "kimi_linear_48b_saved", "kimi_linear_48b_class"}) {
    const ModelDescription model = describe_model(published(name).dump());
    EXPECT_EQ(model.tensors.size(), 20493u) << name;
    EXPECT_EQ(model.max_positions, 1048576) << name;  // under either name
    ASSERT_EQ(model.layers.size(), 27u);
    for (const LayerDescription& layer : model.layers) {
      const std::vector<std::int64_t> mla{3, 7, 11, 15, 19, 23, 26};
      const bool is_mla = std::ranges::find(mla, layer.index) != mla.end();
      EXPECT_EQ(layer.mixer, is_mla ? "mla" : "kda") << name << " layer " << layer.index;
      EXPECT_EQ(layer.moe.has_value(), layer.index > 0);
    }
    EXPECT_EQ(shape_of(model, "model.layers.0.self_attn.q_conv1d.weight"), Shape({4096, 1, 4}));
    EXPECT_EQ(shape_of(model, "model.layers.26.self_attn.kv_b_proj.weight"), Shape({8192, 512}));
    EXPECT_EQ(shape_of(model, "model.layers.26.block_sparse_moe.experts.255.w2.weight"),
              Shape({2304, 1024}));
  }
}

TEST(Describe, OptionsReachTheSpec) {
  const std::string kimi = published("kimi_linear_48b").dump();
  ModelOptions options;
  options.weights_from_biased_scores = true;
  options.precision = ActivationPrecision::bf16;
  const auto moe = describe_model(kimi, options).layers[1].moe;
  EXPECT_TRUE(moe->router.weights_from_biased_scores);
  EXPECT_EQ(moe->experts.activation_format, ActivationFormat::bf16);
  EXPECT_FALSE(describe_model(kimi).layers[1].moe->router.weights_from_biased_scores);
  EXPECT_THROW(describe_model(published("trinity_mini").dump(), options), Error);
}

TEST(Describe, AConfigNeedNotSayHowLongASequenceMayBe) {
  json config = published("trinity_mini");
  config.erase("max_position_embeddings");
  EXPECT_EQ(describe_model(config.dump()).max_positions, std::nullopt);
}

struct Hostile {
  const char* config;
  const char* patch;  // JSON merge patch: null removes
  const char* part;   // of the message
};

// Numbered, as several ask for the same part of a message.
std::string hostile_name(const ::testing::TestParamInfo<Hostile>& info) {
  std::string name = std::to_string(info.index) + '_';
  for (const char* c = info.param.part; *c != '\0'; ++c) {
    name += std::isalnum(static_cast<unsigned char>(*c)) != 0 ? *c : '_';
  }
  return name;
}

class HostileConfig : public ::testing::TestWithParam<Hostile> {};

TEST_P(HostileConfig, IsRefusedByName) {
  json config = published(GetParam().config);
  config.merge_patch(json::parse(GetParam().patch));
  try {
    describe_model(config.dump());
    FAIL() << GetParam().patch << " was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::checkpoint);
    EXPECT_NE(std::string(error.what()).find(GetParam().part), std::string::npos) << error.what();
  }
}

INSTANTIATE_TEST_SUITE_P(
    Afmoe, HostileConfig,
    ::testing::Values(
        Hostile{"trinity_mini", R"({"model_type": "llama"})", "\"llama\""},
        Hostile{"trinity_mini", R"({"model_type": null})", "model_type"},
        Hostile{"trinity_mini", R"({"hidden_size": null})", "hidden_size"},
        Hostile{"trinity_mini", R"({"hidden_size": "2048"})", "hidden_size"},
        Hostile{"trinity_mini", R"({"hidden_size": 2048.5})", "hidden_size"},
        Hostile{"trinity_mini", R"({"hidden_size": -8})", "hidden_size"},
        Hostile{"trinity_mini", R"({"hidden_size": 9223372036854775807})", "hidden_size"},
        Hostile{"trinity_mini", R"({"num_hidden_layers": 1000000000})", "num_hidden_layers"},
        Hostile{"trinity_mini", R"({"num_hidden_layers": 31})", "layer_types has 32"},
        Hostile{"trinity_mini", R"({"layer_types": ["full_attention", 3]})", "layer_types"},
        Hostile{"trinity_mini", R"({"num_dense_layers": 33})", "num_dense_layers"},
        Hostile{"trinity_mini", R"({"num_key_value_heads": 5})", "num_key_value_heads"},
        Hostile{"trinity_mini", R"({"head_dim": 127})", "head_dim"},
        Hostile{"trinity_mini", R"({"head_dim": null})", "head_dim"},
        Hostile{"trinity_mini", R"({"sliding_window": 0})", "sliding_window"},
        Hostile{"trinity_mini", R"({"max_position_embeddings": 0})", "max_position_embeddings"},
        Hostile{"trinity_mini", R"({"rms_norm_eps": -1e-5})", "rms_norm_eps"},
        Hostile{"trinity_mini", R"({"rope_theta": null})", "rope_theta"},
        Hostile{"trinity_mini", R"({"rope_parameters": {"rope_theta": 500}})", "rope_theta"},
        Hostile{"trinity_mini", R"({"rope_parameters": {"rope_type": "yarn"}})", "rope_type"},
        Hostile{"trinity_mini", R"({"rope_scaling": {"type": "linear", "factor": 2}})", "linear"},
        Hostile{"trinity_mini", R"({"rope_scaling": 7})", "rope_scaling"},
        Hostile{"trinity_mini", R"({"hidden_act": "gelu"})", "hidden_act"},
        Hostile{"trinity_mini", R"({"attention_bias": true})", "attention_bias"},
        Hostile{"trinity_mini", R"({"score_func": "tanh"})", "score_func"},
        Hostile{"trinity_mini", R"({"quantization_config": {"bits": 4}})", "quantization_config"},
        Hostile{"trinity_mini", R"({"num_experts": 1000000000})", "1000000000"},
        Hostile{"trinity_mini", R"({"num_experts": 16384})", "16384 experts"},
        Hostile{"trinity_mini", R"({"num_experts_per_tok": 129})", "top_k"}),
    hostile_name);

INSTANTIATE_TEST_SUITE_P(
    KimiLinear, HostileConfig,
    ::testing::Values(
        Hostile{"kimi_linear_48b", R"({"num_local_experts": 128})", "num_local_experts"},
        Hostile{"kimi_linear_48b", R"({"linear_num_heads": 16})", "linear_num_heads"},
        Hostile{"kimi_linear_48b", R"({"q_lora_rank": 1536})", "q_lora_rank"},
        Hostile{"kimi_linear_48b", R"({"mla_use_nope": false})", "mla_use_nope"},
        Hostile{"kimi_linear_48b", R"({"num_nextn_predict_layers": 1})", "num_nextn"},
        Hostile{"kimi_linear_48b", R"({"num_key_value_heads": 8})", "num_key_value_heads"},
        Hostile{"kimi_linear_48b", R"({"linear_attn_config": {"kda_layers": [1]}})", "layer 2"},
        Hostile{"kimi_linear_48b", R"({"linear_attn_config": {"full_attn_layers": [1, 28]}})",
                "full_attn_layers"},
        Hostile{"kimi_linear_48b", R"({"linear_attn_config": {"full_attn_layers": [1]}})",
                "layer 1 (counted from 1) twice"},
        Hostile{"kimi_linear_48b", R"({"linear_attn_config": null})", "linear_num_heads"},
        Hostile{"kimi_linear_48b", R"({"linear_attn_config": {"short_conv_kernel_size": 0}})",
                "short_conv_kernel_size"},
        Hostile{"kimi_linear_48b_saved", R"({"first_k_dense_replace": 2})", "mlp_layer_types"},
        // Half of a schedule, beside the whole of another.
        Hostile{"kimi_linear_48b_class", R"({"moe_layer_freq": 2})", "moe_layer_freq is 2"},
        Hostile{"kimi_linear_48b_class", R"({"linear_attn_config": {"full_attn_layers": [1]}})",
                "full_attn_layers but no kda_layers"},
        Hostile{"kimi_linear_48b_class", R"({"linear_attn_config": {"kda_layers": [1]}})",
                "kda_layers but no full_attn_layers"},
        Hostile{"kimi_linear_48b_class", R"({"layer_types": null})", "layer_types"},
        Hostile{"kimi_linear_48b_class", R"({"mlp_layer_types": null})", "mlp_layer_types"},
        Hostile{"kimi_linear_48b", R"({"kv_lora_rank": 0})", "kv_lora_rank"}),
    hostile_name);

}  // namespace
}  // namespace sluice
