#include <gtest/gtest.h>

#include <functional>
#include <string>

#include <sluice/error.hpp>
#include <sluice/weights.hpp>

namespace sluice {
namespace {

// Views of one block of memory: only names, shapes and dtypes matter here.
char memory[1];

TensorView tensor(DType dtype, Shape shape) { return {memory, dtype, shape, {}}; }

ExpertMatrices experts(std::size_t count, DType dtype, Shape shape) {
  return ExpertMatrices(count, tensor(dtype, shape));
}

struct Layer {
  MoeSpec spec;
  MoeWeights weights;
};

// E = 6 of which 4 are local, H = 16, I = 8, one shared expert of width 24 with a gate.
Layer full_layer() {
  Layer layer;
  auto& [spec, weights] = layer;
  spec.router.num_experts = 6;
  spec.router.top_k = 2;
  spec.router.router_bias = true;
  spec.router.e_score_correction_bias = true;
  spec.experts.hidden_size = 16;
  spec.experts.intermediate_size = 8;
  spec.experts.gate_up_bias = true;
  spec.experts.down_bias = true;
  spec.layer.num_shared_experts = 1;
  spec.layer.shared_intermediate_size = 24;
  spec.layer.shared_expert_gate = true;
  spec.layer.local_expert_offset = 2;
  spec.layer.num_local_experts = 4;
  weights.router_weight = tensor(DType::f16, {6, 16});
  weights.router_bias = tensor(DType::bf16, {6});
  weights.e_score_correction_bias = tensor(DType::f32, {6});
  weights.gate_up_proj = experts(4, DType::bf16, {16, 16});
  weights.down_proj = experts(4, DType::f32, {16, 8});
  weights.gate_up_bias = tensor(DType::f32, {4, 16});
  weights.down_bias = tensor(DType::f32, {4, 16});
  weights.shared_gate_proj = tensor(DType::bf16, {24, 16});
  weights.shared_up_proj = tensor(DType::bf16, {24, 16});
  weights.shared_down_proj = tensor(DType::bf16, {16, 24});
  weights.shared_expert_gate = tensor(DType::bf16, {1, 16});
  return layer;
}

std::string complaint(const Layer& layer) {
  try {
    check_weights(layer.spec, layer.weights);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::user);
    return error.what();
  }
  return "";
}

TEST(CheckWeights, AcceptsAFullLayer) { EXPECT_EQ(complaint(full_layer()), ""); }

TEST(CheckWeights, AsksNothingOfTensorsWhoseSpecCannotBe) {
  Layer layer = full_layer();
  layer.spec.layer.tp_size = 0;
  EXPECT_NE(complaint(layer).find("layer.tp_size is 0"), std::string::npos) << complaint(layer);
}

TEST(CheckWeights, RouterWeightIsOptional) {
  Layer layer = full_layer();
  layer.weights.router_weight = {};
  EXPECT_EQ(complaint(layer), "");
}

TEST(CheckWeights, NamesEachWrongTensor) {
  const std::vector<std::pair<std::function<void(Layer&)>, std::string>> cases{
      {[](Layer& l) {
         l.weights.router_weight = tensor(DType::f32, {16, 6});
       },
       "router.weight is F32 [16, 6]"},
      {[](Layer& l) { l.weights.router_bias = {}; }, "router_bias is missing"},
      {[](Layer& l) { l.spec.router.router_bias = false; }, "router_bias is given"},
      {[](Layer& l) { l.spec.router.e_score_correction_bias = false; },
       "e_score_correction_bias is given"},
      {[](Layer& l) { l.weights.e_score_correction_bias = tensor(DType::f32, {4}); },
       "e_score_correction_bias is F32 [4]"},
      {[](Layer& l) { l.weights.gate_up_proj.pop_back(); },
       "gate_up_proj has 3 experts, expected 4"},
      {[](Layer& l) {
         l.weights.gate_up_proj[2] = tensor(DType::f16, {16, 16});
       },
       "gate_up_proj[2] is F16 [16, 16]"},
      {[](Layer& l) { l.weights.down_proj[1] = {}; }, "down_proj[1] is missing"},
      {[](Layer& l) {
         l.weights.down_proj[3] = tensor(DType::bf16, {8, 16});
       },
       "down_proj[3] is BF16 [8, 16]"},
      {[](Layer& l) { l.spec.experts.gate_up_bias = false; }, "gate_up_bias is given"},
      {[](Layer& l) {
         l.weights.down_bias = tensor(DType::f32, {6, 16});
       },
       "down_bias is F32"},
      {[](Layer& l) { l.weights.shared_up_proj = {}; }, "shared.up_proj is missing"},
      {[](Layer& l) {
         l.weights.shared_gate_up_proj = tensor(DType::bf16, {48, 16});
       },
       "shared.gate_up_proj is given"},
      {[](Layer& l) {
         l.weights.shared_down_proj = tensor(DType::bf16, {16, 8});
       },
       "shared.down_proj is BF16 [16, 8]"},
      {[](Layer& l) { l.spec.layer.shared_expert_gate = false; }, "shared_expert_gate is given"},
      {[](Layer& l) { l.weights.gate_up_scale = experts(4, DType::f32, {1}); },
       "gate_up_scale is given"},
      {[](Layer& l) { l.weights.down_global_scale = tensor(DType::f32, {4}); },
       "down_global_scale is given"},
      {[](Layer& l) { l.spec.experts.gate_up_order = GateUpOrder::up_gate; },
       "experts.gate_up_order be gate_up"},
      {[](Layer& l) {
         l.weights.gate_proj = experts(4, DType::bf16, {8, 16});
       },
       "up_proj has 0 experts"},
  };
  for (const auto& [damage, expected] : cases) {
    Layer layer = full_layer();
    damage(layer);
    EXPECT_NE(complaint(layer).find(expected), std::string::npos)
        << expected << "\n got: " << complaint(layer);
  }
}

TEST(CheckWeights, WithoutSharedExpertsTheirTensorsAreSuperfluous) {
  Layer layer = full_layer();
  layer.spec.layer.num_shared_experts = layer.spec.layer.shared_intermediate_size = 0;
  layer.spec.layer.shared_expert_gate = false;
  const std::string text = complaint(layer);
  for (const char* name :
       {"shared.gate_proj", "shared.up_proj", "shared.down_proj", "shared_expert_gate"}) {
    EXPECT_NE(text.find(std::string(name) + " is given"), std::string::npos) << text;
  }
}

TEST(CheckWeights, SeparateGateAndUp) {
  Layer layer = full_layer();
  layer.weights.gate_up_proj.clear();
  layer.weights.gate_proj = experts(4, DType::bf16, {8, 16});
  layer.weights.up_proj = experts(4, DType::bf16, {8, 16});
  EXPECT_EQ(complaint(layer), "");
  layer.spec.experts.gate_up_order = GateUpOrder::interleaved;
  EXPECT_NE(complaint(layer), "");
}

TEST(CheckWeights, NonGatedExpertsHaveHalfTheRows) {
  Layer layer = full_layer();
  layer.spec.experts.activation = Activation::relu2;
  layer.weights.gate_up_proj = experts(4, DType::bf16, {8, 16});
  layer.weights.gate_up_bias = tensor(DType::f32, {4, 8});
  layer.weights.shared_gate_proj = {};
  layer.weights.shared_up_proj = {};
  layer.weights.shared_gate_up_proj = tensor(DType::bf16, {24, 16});
  EXPECT_EQ(complaint(layer), "");
}

TEST(CheckWeights, ScaledFormatsNeedTheirScales) {
  Layer layer = full_layer();
  layer.spec.experts.weight_format = WeightFormat::nvfp4;
  layer.spec.experts.intermediate_size = 16;
  layer.weights.gate_up_proj = experts(4, DType::u8, {32, 8});
  layer.weights.down_proj = experts(4, DType::u8, {16, 8});
  layer.weights.gate_up_scale = experts(4, DType::f8_e4m3, {32, 1});
  layer.weights.down_scale = experts(4, DType::f8_e4m3, {16, 1});
  layer.weights.gate_up_bias = tensor(DType::f32, {4, 32});
  layer.weights.gate_up_global_scale = tensor(DType::f32, {4});
  EXPECT_NE(complaint(layer).find("down_global_scale is missing"), std::string::npos);
  layer.weights.down_global_scale = tensor(DType::f32, {4});
  EXPECT_EQ(complaint(layer), "");
  layer.spec.experts.intermediate_size = 24;
  EXPECT_NE(complaint(layer).find("experts.intermediate_size is 24"), std::string::npos);
}

// int4 holds no rows of 24 columns; the shared experts' are plain.
TEST(CheckWeights, SharedExpertsMayBeOfAWidthThatTheFormatCannotHold) {
  Layer layer = full_layer();
  layer.spec.experts.weight_format = WeightFormat::int4;
  layer.spec.experts.hidden_size = 32;
  layer.spec.experts.intermediate_size = 32;
  layer.weights.router_weight = {};
  layer.weights.gate_up_proj = experts(4, DType::u8, {64, 16});
  layer.weights.down_proj = experts(4, DType::u8, {32, 16});
  layer.weights.gate_up_scale = experts(4, DType::bf16, {64, 1});
  layer.weights.down_scale = experts(4, DType::bf16, {32, 1});
  layer.weights.gate_up_bias = tensor(DType::f32, {4, 64});
  layer.weights.down_bias = tensor(DType::f32, {4, 32});
  layer.weights.shared_gate_proj = tensor(DType::bf16, {24, 32});
  layer.weights.shared_up_proj = tensor(DType::bf16, {24, 32});
  layer.weights.shared_down_proj = tensor(DType::bf16, {32, 24});
  layer.weights.shared_expert_gate = tensor(DType::bf16, {32});
  EXPECT_EQ(complaint(layer), "");
  layer.spec.experts.intermediate_size = 24;
  EXPECT_NE(complaint(layer).find("experts.intermediate_size is 24"), std::string::npos);
  EXPECT_EQ(complaint(layer).find("has no scales"), std::string::npos) << complaint(layer);
}

TEST(CheckWeights, CapsTheList) {
  Layer layer = full_layer();
  layer.spec.layer = {};
  layer.spec.router.num_experts = 64;
  layer.weights = {};
  layer.weights.gate_up_proj = experts(64, DType::i8, {3});
  layer.weights.down_proj = experts(64, DType::i8, {3});
  const std::string text = complaint(layer);
  EXPECT_NE(text.find("and 112 more"), std::string::npos) << text;  // 132 problems, 20 shown
}

// One scale per tensor comes stacked as [experts].
TEST(SplitExperts, NumbersBecomeScalars) {
  const std::vector<float> scales{0.5f, 2.0f, 3.0f};
  const ExpertMatrices split = split_experts({scales.data(), DType::f32, {3}, {}});
  ASSERT_EQ(split.size(), 3u);
  EXPECT_EQ(split[1].shape, Shape{});
  EXPECT_EQ(split[2].data, scales.data() + 2);
}

TEST(SplitExperts, ViewsStepThroughTheStack) {
  std::vector<std::uint16_t> data(3 * 4 * 8);
  const ExpertMatrices split = split_experts({data.data(), DType::bf16, {3, 4, 8}, {}});
  ASSERT_EQ(split.size(), 3u);
  EXPECT_EQ(split[0].shape, (Shape{4, 8}));
  EXPECT_EQ(split[2].data, data.data() + 2 * 32);
  EXPECT_EQ(split[1].dtype, DType::bf16);
  EXPECT_EQ(split_experts({data.data(), DType::f4, {3, 4, 8}, {}})[1].data,
            reinterpret_cast<const char*>(data.data()) + 16);
  EXPECT_THROW(split_experts({data.data(), DType::f4, {3, 1, 3}, {}}), Error);
  EXPECT_THROW(split_experts({data.data(), DType::bf16, {-3, 4, 8}, {}}), Error);
  EXPECT_THROW(split_experts({data.data(), DType::bf16, {3, 4, -8}, {}}), Error);
  EXPECT_THROW(split_experts({data.data(), DType::bf16, {}, {}}), Error);
  EXPECT_THROW(split_experts({data.data(), DType::f4, {3}, {}}), Error);
  EXPECT_THROW(split_experts({}), Error);
}

TEST(WeightsCheck, ARankWithoutExpertsNeedsNoAddressOfItsBiases) {
  Layer layer = full_layer();
  layer.spec.layer.local_expert_offset = 6;
  layer.spec.layer.num_local_experts = 0;
  layer.weights.gate_up_proj = layer.weights.down_proj = {};
  layer.weights.gate_up_bias = {nullptr, DType::f32, {0, 16}, {}};
  layer.weights.down_bias = {};
  EXPECT_EQ(complaint(layer), "");
  layer.weights.gate_up_bias = tensor(DType::f32, {1, 16});
  EXPECT_NE(complaint(layer).find("gate_up_bias"), std::string::npos);
}

}  // namespace
}  // namespace sluice
