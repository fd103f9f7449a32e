// Loading: wrong tensors are listed together, options are checked, progress is told.
#include <gtest/gtest.h>

#include <sluice/error.hpp>

#include "base/element.hpp"
#include "model/golden.hpp"

namespace sluice {
namespace {

using testing::golden_path;
using testing::logits_of;

// A copy of a golden checkpoint with other tensors or another config.
class Edited {
 public:
  explicit Edited(const std::filesystem::path& source)
      : directory_(::testing::TempDir() + "sluice_load_" +
                   ::testing::UnitTest::GetInstance()->current_test_info()->name()),
        checkpoint_(Checkpoint::open(source)) {
    std::filesystem::create_directories(directory_);
    config = nlohmann::json::parse(checkpoint_.config_text());
    for (const TensorInfo& info : checkpoint_.tensors()) {
      tensors[info.name] = checkpoint_.tensor(info.name);
    }
  }
  ~Edited() { std::filesystem::remove_all(directory_); }

  std::unique_ptr<Model> load(const ModelOptions& options = {}) const {
    std::ofstream(directory_ / "config.json") << config.dump();
    std::vector<NamedTensor> list;
    for (const auto& [name, view] : tensors) list.push_back({name, view});
    write_safetensors(directory_ / "model.safetensors", list);
    return load_model(directory_.string(), options);
  }

  nlohmann::json config;
  std::map<std::string, TensorView> tensors;

 private:
  std::filesystem::path directory_;
  Checkpoint checkpoint_;
};

TEST(Load, OneErrorListsEveryWrongTensor) {
  Edited edited(golden_path("afmoe", "gqa_window"));
  const std::vector<std::int32_t> integers(6 * 24);
  edited.tensors.erase("model.layers.2.self_attn.q_norm.weight");
  edited.tensors["model.layers.9.extra"] = edited.tensors["model.norm.weight"];
  edited.tensors["model.norm.weight"].shape = {23};
  edited.tensors["model.layers.1.mlp.router.gate.weight"] = {
      integers.data(), DType::i32, {6, 24}, {}};
  edited.tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] =
      edited.tensors["model.layers.1.mlp.expert_bias"];  // old exporters; harmless
  try {
    edited.load();
    FAIL();
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(error.kind(), ErrorKind::checkpoint);
    for (const char* part :
         {"missing: \"model.layers.2.self_attn.q_norm.weight\"", "unexpected: \"model.layers.9",
          "misshapen: \"model.norm.weight\" is [23]",
          "mistyped: \"model.layers.1.mlp.router.gate.weight\" is I32"}) {
      EXPECT_NE(message.find(part), std::string::npos) << part << " not in\n" << message;
    }
    EXPECT_EQ(message.find("inv_freq"), std::string::npos);
  }
}

TEST(Load, MixedDtypesWithinALayerKeepTheirValues) {
  const auto source = golden_path("afmoe", "bf16_weights");
  Edited edited(source);
  const std::string name = "model.layers.1.mlp.experts.3.up_proj.weight";
  const TensorView narrow = edited.tensors[name];
  std::vector<float> wide;
  for (std::int64_t i = 0; i < narrow.shape.elements(); ++i) {
    wide.push_back(load_float(narrow.data, narrow.dtype, i));
  }
  edited.tensors[name] = {wide.data(), DType::f32, narrow.shape, {}};
  const auto mixed = edited.load(), plain = load_model(source.string());
  EXPECT_EQ(mixed->description().layers[1].moe->experts.weight_format, WeightFormat::f32);
  EXPECT_EQ(mixed->description().layers[2].moe->experts.weight_format, WeightFormat::bf16);
  EXPECT_EQ(logits_of(*mixed, {5, 9, 2, 33}), logits_of(*plain, {5, 9, 2, 33}));
}

// model.half() and save_pretrained() leave nothing in another type, the routing's bias included.
TEST(Load, HalfPrecisionThroughout) {
  for (const auto& [family, name] :
       {std::pair{"afmoe", "gqa_window"}, {"kimi_linear", "released"}}) {
    Edited edited(golden_path(family, name));
    std::map<std::string, std::vector<std::uint16_t>> halves;
    for (auto& [tensor, view] : edited.tensors) {
      auto& half = halves[tensor];
      half.resize(static_cast<std::size_t>(view.shape.elements()));
      for (std::int64_t i = 0; i < view.shape.elements(); ++i) {
        store_float(half.data(), DType::f16, i, load_float(view.data, view.dtype, i));
      }
      view = {half.data(), DType::f16, view.shape, {}};
    }
    const auto model = edited.load();
    EXPECT_EQ(model->description().layers[1].moe->experts.weight_format, WeightFormat::f16);
    std::map<std::string, std::vector<float>> biases;
    for (auto& [tensor, view] : edited.tensors) {
      if (!tensor.ends_with("bias") || tensor.ends_with("dt_bias")) continue;
      auto& bias = biases[tensor];
      for (std::int64_t i = 0; i < view.shape.elements(); ++i) {
        bias.push_back(load_float(view.data, view.dtype, i));
      }
      view = {bias.data(), DType::f32, view.shape, {}};
    }
    ASSERT_FALSE(biases.empty());
    EXPECT_EQ(logits_of(*model, {1, 2, 3}), logits_of(*edited.load(), {1, 2, 3})) << family;
  }
}

// transformers' AFMoE divides a single weight by itself, so the router's scale cannot matter; a
// router that keeps the score would show it.
TEST(Load, OneExpertPerTokenWeighsExactlyTheScale) {
  Edited edited(golden_path("afmoe", "gqa_window"));
  edited.config["num_experts_per_tok"] = 1;
  std::vector<float> zeros(6, 0.0f);
  std::map<std::string, std::vector<float>> halved;
  for (auto& [name, view] : edited.tensors) {
    if (name.ends_with("expert_bias")) view.data = zeros.data();
  }
  const auto before = logits_of(*edited.load(), {1, 2, 3, 4, 5, 6});
  for (auto& [name, view] : edited.tensors) {
    if (!name.ends_with("router.gate.weight")) continue;
    for (std::int64_t i = 0; i < view.shape.elements(); ++i) {
      halved[name].push_back(0.5f * load_float(view.data, view.dtype, i));
    }
    view.data = halved[name].data();
  }
  EXPECT_EQ(logits_of(*edited.load(), {1, 2, 3, 4, 5, 6}), before);
  edited.config["route_scale"] = 2.0;
  EXPECT_NE(logits_of(*edited.load(), {1, 2, 3, 4, 5, 6}), before);
}

// So does Kimi's in transformers; the released code, which weights_from_biased_scores stands for,
// leaves a single weight alone.
TEST(Load, OneExpertPerTokenInKimi) {
  Edited edited(golden_path("kimi_linear", "released"));
  edited.config["num_experts_per_token"] = 1;
  edited.config["moe_renormalize"] = true;
  std::map<std::string, std::vector<float>> halved;
  const auto ids = std::vector<std::int32_t>{1, 2, 3, 4, 5, 6};
  const ModelOptions remote{.weights_from_biased_scores = true};
  std::vector<float> zeros(64, 0.0f);
  for (auto& [name, view] : edited.tensors) {
    if (!name.ends_with("e_score_correction_bias")) continue;
    ASSERT_LE(view.shape.elements(), 64);
    view.data = zeros.data();
  }
  const auto before = logits_of(*edited.load(), ids);
  const auto remote_before = logits_of(*edited.load(remote), ids);
  for (auto& [name, view] : edited.tensors) {
    if (!name.ends_with("block_sparse_moe.gate.weight")) continue;
    for (std::int64_t i = 0; i < view.shape.elements(); ++i) {
      halved[name].push_back(0.5f * load_float(view.data, view.dtype, i));
    }
    view = {halved[name].data(), DType::f32, view.shape, {}};
  }
  EXPECT_EQ(logits_of(*edited.load(), ids), before);
  EXPECT_NE(logits_of(*edited.load(remote), ids), remote_before);
}

// transformers writes a head of its own for a Kimi config that says tied, and [0, H] tensors for
// shared experts that a config has none of.
TEST(Load, TiedConfigsMayBringAHeadAndEmptyTensorsAreNoSurprise) {
  for (const auto& [family, name] :
       {std::pair{"afmoe", "gqa_window"}, {"kimi_linear", "released"}}) {
    Edited edited(golden_path(family, name));
    const auto untied = logits_of(*edited.load(), {1, 2, 3});
    edited.config["tie_word_embeddings"] = true;
    edited.tensors["model.layers.0.none.weight"] = {untied.data(), DType::f32, {0, 8}, {}};
    EXPECT_EQ(logits_of(*edited.load(), {1, 2, 3}), untied) << family;
    edited.tensors.erase("lm_head.weight");
    EXPECT_NE(logits_of(*edited.load(), {1, 2, 3}), untied) << family;
  }
}

TEST(Load, KimiOptionsChangeWhatTheySay) {
  const std::string kimi = golden_path("kimi_linear", "released").string();
  const std::vector<std::int32_t> ids{3, 1, 4, 1, 5, 9, 2, 6};
  const auto plain = logits_of(*load_model(kimi), ids);
  EXPECT_EQ(logits_of(*load_model(kimi, {.kv_a_layernorm_eps = 1e-6}), ids), plain);
  EXPECT_NE(logits_of(*load_model(kimi, {.kv_a_layernorm_eps = 1e-5}), ids), plain);
  EXPECT_NE(logits_of(*load_model(kimi, {.weights_from_biased_scores = true}), ids), plain);
  EXPECT_THROW(load_model(kimi, {.kv_a_layernorm_eps = -1.0}), Error);
  EXPECT_THROW(
      load_model(golden_path("afmoe", "gqa_window").string(), {.kv_a_layernorm_eps = 1e-6}), Error);
}

TEST(Load, TellsProgressAndFigures) {
  std::vector<LoadProgress> seen;
  ModelOptions options;
  options.backend = "reference";
  options.progress = [&](const LoadProgress& progress) { seen.push_back(progress); };
  const auto model = load_model(golden_path("afmoe", "gqa_window").string(), options);
  ASSERT_EQ(seen.size(), 5u);
  EXPECT_EQ(seen.back().layers_done, 4);
  EXPECT_EQ(seen.back().layers, 4);
  EXPECT_GT(seen[0].weight_bytes, 0u);
  EXPECT_GT(seen.back().weight_bytes, seen[3].weight_bytes);
  EXPECT_EQ(model->memory().weight_bytes, seen.back().weight_bytes);
  EXPECT_EQ(model->layer_backend(0), nullptr);
  ASSERT_NE(model->layer_backend(1), nullptr);
  EXPECT_EQ(model->layer_backend(1)->name(), "reference");
  EXPECT_FALSE(model->layer_variant(1).empty());
}

}  // namespace
}  // namespace sluice
