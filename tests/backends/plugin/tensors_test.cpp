// What a plugin is given for the tensors of a layer.
#include <gtest/gtest.h>

#include <vector>

#include "backends/plugin/c_tensors.hpp"
#include "base/element.hpp"

namespace sluice::plugin {
namespace {

struct Matrix {
  Matrix(DType dtype_of, std::int64_t rows, float first) : dtype(dtype_of), shape{rows, 4} {
    bytes.resize(static_cast<std::size_t>(shape.elements() * bits(dtype) / 8));
    for (std::int64_t i = 0; i < shape.elements(); ++i) {
      store_float(bytes.data(), dtype, i, first + 0.5f * static_cast<float>(i));
    }
  }
  TensorView view() const { return {bytes.data(), dtype, shape, {}}; }
  DType dtype;
  Shape shape;
  std::vector<std::byte> bytes;
};

// Checkpoints may hold one of them in another dtype: no half may be read as what it is not.
TEST(PluginTensors, GateAndUpApartKeepTheirValuesWhateverTheirDtypes) {
  MoeSpec spec;
  spec.router.num_experts = 1;
  spec.router.top_k = 1;
  spec.experts.hidden_size = 4;
  spec.experts.intermediate_size = 3;
  spec.layer.num_shared_experts = 1;
  for (const DType gate_dtype : {DType::bf16, DType::f32, DType::f16}) {
    for (const DType up_dtype : {DType::bf16, DType::f32, DType::f16}) {
      const Matrix gate(gate_dtype, 3, 1.0f), up(up_dtype, 3, -20.0f), down(DType::bf16, 4, 0.0f);
      MoeWeights weights;
      weights.gate_proj = {gate.view()};
      weights.up_proj = {up.view()};
      weights.down_proj = {down.view()};
      weights.shared_gate_proj = gate.view();
      weights.shared_up_proj = up.view();
      weights.shared_down_proj = down.view();
      const CWeights given(spec, weights);
      const sluice_weights& c = given.get();
      ASSERT_EQ(c.gate_up_proj.count, 1u);
      for (const sluice_tensor& both : {c.gate_up_proj.tensors[0], c.shared_gate_up_proj}) {
        ASSERT_EQ(both.shape[0], 6);
        ASSERT_EQ(both.shape[1], 4);
        const auto dtype = static_cast<DType>(both.dtype);
        for (std::int64_t i = 0; i < 12; ++i) {
          EXPECT_EQ(load_float(both.data, dtype, i), load_float(gate.bytes.data(), gate_dtype, i));
          EXPECT_EQ(load_float(both.data, dtype, 12 + i), load_float(up.bytes.data(), up_dtype, i));
        }
      }
    }
  }
}

// F32 matrices stand for their rounding: a plugin that reads what it is given computes with that.
TEST(PluginTensors, F32MatricesComeInTheDtypeOfTheWeightFormat) {
  const Matrix gate_up(DType::f32, 6, 1.0f + 0x1p-13f), down(DType::f32, 4, -3.0f - 0x1p-13f);
  MoeWeights weights;
  weights.gate_up_proj = {gate_up.view()};
  weights.down_proj = {down.view()};
  weights.shared_gate_up_proj = gate_up.view();
  weights.shared_down_proj = down.view();
  MoeSpec spec;
  spec.layer.num_shared_experts = 1;
  for (const auto& [format, dtype] : {std::pair{WeightFormat::bf16, DType::bf16},
                                      {WeightFormat::f16, DType::f16},
                                      {WeightFormat::f32, DType::f32}}) {
    spec.experts.weight_format = format;
    const CWeights given(spec, weights);
    const sluice_weights& c = given.get();
    const auto expect = [dtype = dtype](const sluice_tensor& tensor, const Matrix& from) {
      ASSERT_EQ(tensor.dtype, static_cast<int>(dtype));
      for (std::int64_t i = 0; i < from.shape.elements(); ++i) {
        std::byte want[4];
        store_float(want, dtype, 0, load_float(from.bytes.data(), DType::f32, i));
        EXPECT_EQ(load_float(tensor.data, dtype, i), load_float(want, dtype, 0));
      }
    };
    expect(c.gate_up_proj.tensors[0], gate_up);
    expect(c.down_proj.tensors[0], down);
    expect(c.shared_gate_up_proj, gate_up);
    expect(c.shared_down_proj, down);
  }
}

}  // namespace
}  // namespace sluice::plugin
