#include "backends/plugin/c_tensors.hpp"

#include <cstring>

#include "base/element.hpp"

namespace sluice::plugin {
namespace {

static_assert(SLUICE_F64 == static_cast<int>(DType::f64));
static_assert(SLUICE_F32 == static_cast<int>(DType::f32));
static_assert(SLUICE_F16 == static_cast<int>(DType::f16));
static_assert(SLUICE_BF16 == static_cast<int>(DType::bf16));
static_assert(SLUICE_F8_E4M3 == static_cast<int>(DType::f8_e4m3));
static_assert(SLUICE_I64 == static_cast<int>(DType::i64));
static_assert(SLUICE_I32 == static_cast<int>(DType::i32));
static_assert(SLUICE_BOOL == static_cast<int>(DType::boolean));

template <typename CTensor, typename View>
CTensor describe(const View& view) {
  CTensor tensor{};
  tensor.data = view.data;
  tensor.dtype = static_cast<std::int32_t>(view.dtype);
  tensor.rank = view.shape.rank();
  for (int axis = 0; axis < view.shape.rank(); ++axis) tensor.shape[axis] = view.shape[axis];
  return tensor;
}

std::size_t byte_count(const TensorView& view) {
  return static_cast<std::size_t>(view.shape.elements() * bits(view.dtype) / 8);
}

}  // namespace

sluice_tensor to_c(const TensorView& view) { return describe<sluice_tensor>(view); }
sluice_out_tensor to_c(const MutableTensorView& view) { return describe<sluice_out_tensor>(view); }

CWeights::CWeights(const MoeSpec& spec, const MoeWeights& weights)
    : format_(spec.experts.weight_format) {
  ExpertMatrices gate_up = weights.gate_up_proj;
  ExpertMatrices down = weights.down_proj;
  for (std::size_t e = 0; e < weights.gate_proj.size(); ++e) {
    gate_up.push_back(stacked(weights.gate_proj[e], weights.up_proj[e]));
  }
  for (TensorView& matrix : gate_up) matrix = rounded(matrix);
  for (TensorView& matrix : down) matrix = rounded(matrix);
  const bool shared_apart = spec.layer.num_shared_experts > 0 && !weights.shared_gate_up_proj;
  weights_.struct_size = sizeof(sluice_weights);
  weights_.router_bias = to_c(weights.router_bias);
  weights_.e_score_correction_bias = to_c(weights.e_score_correction_bias);
  weights_.gate_up_proj = list(gate_up);
  weights_.down_proj = list(down);
  weights_.gate_up_bias = to_c(weights.gate_up_bias);
  weights_.down_bias = to_c(weights.down_bias);
  weights_.shared_gate_up_proj =
      to_c(rounded(shared_apart ? stacked(weights.shared_gate_proj, weights.shared_up_proj)
                                : weights.shared_gate_up_proj));
  weights_.shared_down_proj = to_c(rounded(weights.shared_down_proj));
  weights_.shared_expert_gate = to_c(weights.shared_expert_gate);
  weights_.gate_up_scale = list(weights.gate_up_scale);
  weights_.down_scale = list(weights.down_scale);
  weights_.gate_up_global_scale = to_c(weights.gate_up_global_scale);
  weights_.down_global_scale = to_c(weights.down_global_scale);
}

sluice_tensor_list CWeights::list(const ExpertMatrices& matrices) {
  std::vector<sluice_tensor>& tensors = lists_.emplace_back();
  for (const TensorView& matrix : matrices) tensors.push_back(to_c(matrix));
  return {tensors.data(), tensors.size()};
}

TensorView CWeights::stacked(const TensorView& gate, const TensorView& up) {
  if (gate.dtype != up.dtype) return stacked(as_floats(gate), as_floats(up));
  AlignedBuffer& both = owned_.emplace_back(byte_count(gate) + byte_count(up));
  std::memcpy(both.data(), gate.data, byte_count(gate));
  std::memcpy(both.data() + byte_count(gate), up.data, byte_count(up));
  return {both.data(), gate.dtype, {gate.shape[0] + up.shape[0], gate.shape[1]}, {}};
}

// Exact for all that a matrix with another's dtype beside it may be: f32, bf16 or f16.
TensorView CWeights::as_floats(const TensorView& matrix) {
  const std::int64_t count = matrix.shape.elements();
  AlignedBuffer& floats = owned_.emplace_back(static_cast<std::size_t>(count) * sizeof(float));
  auto* to = reinterpret_cast<float*>(floats.data());
  for (std::int64_t i = 0; i < count; ++i) to[i] = load_float(matrix.data, matrix.dtype, i);
  return {to, DType::f32, matrix.shape, {}};
}

TensorView CWeights::rounded(const TensorView& matrix) {
  const bool sixteen = format_ == WeightFormat::bf16 || format_ == WeightFormat::f16;
  if (!matrix || !sixteen || matrix.dtype != DType::f32) return matrix;
  const DType dtype = format_ == WeightFormat::bf16 ? DType::bf16 : DType::f16;
  const std::int64_t count = matrix.shape.elements();
  AlignedBuffer& to = owned_.emplace_back(static_cast<std::size_t>(count) * 2 + 1);
  for (std::int64_t i = 0; i < count; ++i) {
    store_float(to.data(), dtype, i, load_float(matrix.data, matrix.dtype, i));
  }
  return {to.data(), dtype, matrix.shape, {}};
}

}  // namespace sluice::plugin
