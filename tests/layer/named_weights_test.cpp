#include "layer/named_weights.hpp"

#include <gtest/gtest.h>

#include "base/element.hpp"
#include "layer/small_layer.hpp"

namespace sluice {
namespace {

constexpr std::int64_t kExperts = 4;

MoeSpec four_experts() {
  MoeSpec spec;
  spec.router.num_experts = kExperts;
  spec.router.top_k = 2;
  spec.experts.hidden_size = 8;
  spec.experts.intermediate_size = 8;
  spec.experts.weight_format = WeightFormat::f32;
  return spec;
}

float first_value(const TensorView& tensor) { return load_float(tensor.data, tensor.dtype, 0); }

// Matrices and rows whose values are their global expert's number.
struct StackedExperts {
  StackedExperts() : values(kExperts * 8 * 8) {
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i / 64);
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<float>(i / 8);
  }
  std::vector<float> values;
  std::vector<float> rows = std::vector<float>(kExperts * 8);
  NamedTensors named() const {
    return {{"down_proj", test::view(values, DType::f32, {kExperts, 8, 8})},
            {"down_bias", test::view(rows, DType::f32, {kExperts, 8})}};
  }
};

// A map that holds every expert is no sign of another order in the file.
TEST(NamedWeights, AllExpertsAreInGlobalOrderWhateverTheMap) {
  const StackedExperts stacked;
  const std::vector<std::vector<std::int32_t>> maps{
      {1, 0, 2, 3}, {1, 0, 2, -1}, {1, 0, -1, 2}, {3, 2, 1, 0}, {0, 1, 2, 3}};
  for (const auto& map : maps) {
    MoeSpec spec = four_experts();
    spec.layer.expert_map = map;
    const NamedWeights named(spec, stacked.named());
    const MoeWeights& weights = named.weights();
    ASSERT_EQ(std::ssize(weights.down_proj), local_expert_count(spec));
    ASSERT_EQ(weights.down_bias.shape, (Shape{local_expert_count(spec), 8}));
    for (std::size_t expert = 0; expert < map.size(); ++expert) {
      if (map[expert] < 0) continue;
      const auto wanted = static_cast<float>(expert);
      EXPECT_EQ(first_value(weights.down_proj[static_cast<std::size_t>(map[expert])]), wanted);
      EXPECT_EQ(load_float(weights.down_bias.data, DType::f32, std::int64_t{map[expert]} * 8),
                wanted);
    }
  }
}

TEST(NamedWeights, FewerExpertsAreThisRanksInLocalOrder) {
  const StackedExperts stacked;
  MoeSpec spec = four_experts();
  spec.layer.expert_map = {-1, 1, 0, -1};
  const NamedWeights named(spec, {{"down_proj", test::view(stacked.values, DType::f32, {2, 8, 8})},
                                  {"down_bias", test::view(stacked.rows, DType::f32, {2, 8})}});
  EXPECT_EQ(first_value(named.weights().down_proj[0]), 0.0f);
  EXPECT_EQ(first_value(named.weights().down_proj[1]), 1.0f);
  EXPECT_EQ(named.weights().down_bias.data, stacked.rows.data());
}

// Value of the first element of this rank's expert `local`.
float value_of(const ExpertMatrices& matrices, std::size_t local) {
  return first_value(matrices[local]);
}
float value_of(const TensorView& rows, std::size_t local) {
  return load_float(rows.data, rows.dtype,
                    static_cast<std::int64_t>(local) * rows.shape.elements() / rows.shape[0]);
}

// Every tensor that has an entry per local expert, [E, 8, 8], [E, 8] or [E] as it comes: one that
// is handed through whole gives each expert another's numbers, or is refused.
TEST(NamedWeights, EveryTensorOfExpertsIsTakenFromAll) {
  const StackedExperts stacked;
  const std::vector<float> scalars{0.0f, 1.0f, 2.0f, 3.0f};
  const TensorView matrices = test::view(stacked.values, DType::f32, {kExperts, 8, 8});
  const TensorView rows = test::view(stacked.rows, DType::f32, {kExperts, 8});
  const TensorView numbers = test::view(scalars, DType::f32, {kExperts});
  NamedTensors all;
  for (const std::string_view name : weight_names()) {
    // Of all ranks alike, or of none: these have no entry per local expert.
    const bool whole = name.starts_with("router") || name.starts_with("shared") ||
                       name == "e_score_correction_bias";
    const bool number_each = whole || name.ends_with("global_scale");
    all.emplace(name, number_each ? numbers : name.ends_with("bias") ? rows : matrices);
  }
  MoeSpec spec = four_experts();
  spec.layer.local_expert_offset = 1;
  spec.layer.num_local_experts = 2;
  const NamedWeights named(spec, all);
  const MoeWeights& weights = named.weights();
  const auto expect_experts = [](const auto& tensor, const char* name) {
    SCOPED_TRACE(name);
    EXPECT_EQ(value_of(tensor, 0), 1.0f);
    EXPECT_EQ(value_of(tensor, 1), 2.0f);
  };
  expect_experts(weights.gate_up_proj, "gate_up_proj");
  expect_experts(weights.down_proj, "down_proj");
  expect_experts(weights.gate_up_scale, "gate_up_scale");
  expect_experts(weights.down_scale, "down_scale");
  expect_experts(weights.gate_up_bias, "gate_up_bias");
  expect_experts(weights.down_bias, "down_bias");
  expect_experts(weights.gate_up_global_scale, "gate_up_global_scale");
  expect_experts(weights.down_global_scale, "down_global_scale");
  EXPECT_EQ(weights.gate_up_global_scale.shape, Shape{2});
  for (const TensorView& tensor :
       {weights.router_weight, weights.router_bias, weights.e_score_correction_bias,
        weights.shared_gate_up_proj, weights.shared_down_proj, weights.shared_expert_gate}) {
    EXPECT_EQ(tensor.data, scalars.data());
  }
}

// fp8_e4m3_tensor: a scale per matrix, stacked as [E] or [E, 1].
TEST(NamedWeights, OneScalePerExpertMayBeANumber) {
  const std::vector<float> scales{0.5f, 2.0f, 3.0f, 4.0f};
  const std::vector<std::uint8_t> ones(kExperts * 16 * 8, 0x38);
  MoeSpec spec = four_experts();
  spec.experts.weight_format = WeightFormat::fp8_e4m3_tensor;
  spec.layer.local_expert_offset = 1;
  spec.layer.num_local_experts = 3;
  for (const Shape& shape : {Shape{kExperts}, Shape{kExperts, 1}}) {
    const NamedWeights named(spec,
                             {{"gate_up_proj", test::view(ones, DType::f8_e4m3, {kExperts, 16, 8})},
                              {"down_proj", test::view(ones, DType::f8_e4m3, {kExperts, 8, 8})},
                              {"gate_up_scale", test::view(scales, DType::f32, shape)},
                              {"down_scale", test::view(scales, DType::f32, shape)}});
    EXPECT_NO_THROW(check_weights(spec, named.weights()));
    EXPECT_EQ(first_value(named.weights().down_scale[0]), 2.0f);
  }
}

TEST(NamedWeights, WhatCannotBeSplitIsNamed) {
  const std::vector<float> scale{2.0f};
  try {
    const NamedWeights named(four_experts(), {{"down_scale", test::view(scale, DType::f32, {})}});
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::user);
    EXPECT_NE(std::string_view(error.what()).find("\"down_scale\""), std::string_view::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace sluice
