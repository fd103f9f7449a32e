#include "audit/unpacked.hpp"

#include "audit/owned_tensor.hpp"
#include "formats/format.hpp"

namespace sluice::auditing {
namespace {

using formats::EncodedMatrix;
using formats::MatrixSize;

std::vector<float> floats(const TensorView& view) {
  return view ? to_floats(view) : std::vector<float>{};
}

std::vector<float> matrix(WeightFormat format, const EncodedMatrix& encoded, std::int64_t rows,
                          std::int64_t columns) {
  std::vector<float> out(static_cast<std::size_t>(rows * columns));
  formats::unpack(format, encoded, MatrixSize{rows, columns}, out);
  return out;
}

// Splits rows of `columns` values into gate and up by the checkpoint's order.
void split(const ExpertSpec& experts, const std::vector<float>& fused, std::size_t width,
           std::size_t columns, std::vector<float>& gate, std::vector<float>& up) {
  if (!is_gated(experts.activation)) {
    gate = fused;
    return;
  }
  for (std::size_t row = 0; row < 2 * width; ++row) {
    bool is_gate = row < width;
    if (experts.gate_up_order == GateUpOrder::up_gate) is_gate = row >= width;
    if (experts.gate_up_order == GateUpOrder::interleaved) is_gate = row % 2 == 0;
    const auto first = fused.begin() + static_cast<std::ptrdiff_t>(row * columns);
    std::vector<float>& half = is_gate ? gate : up;
    half.insert(half.end(), first, first + static_cast<std::ptrdiff_t>(columns));
  }
}

std::vector<float> row_of(const std::vector<float>& stacked, std::size_t row, std::size_t rows) {
  if (stacked.empty()) return {};
  const std::size_t columns = stacked.size() / rows;
  const auto first = stacked.begin() + static_cast<std::ptrdiff_t>(row * columns);
  return {first, first + static_cast<std::ptrdiff_t>(columns)};
}

WeightFormat shared_format(const MoeSpec& spec, DType dtype) {
  const WeightFormat format = spec.experts.weight_format;
  if (format == WeightFormat::bf16 || format == WeightFormat::f16 || format == WeightFormat::f32) {
    return format;
  }
  if (dtype == DType::f32) return WeightFormat::f32;
  return dtype == DType::f16 ? WeightFormat::f16 : WeightFormat::bf16;
}

UnpackedExpert routed_expert(const MoeSpec& spec, const MoeWeights& weights, std::size_t e) {
  const ExpertSpec& experts = spec.experts;
  const std::int64_t width = local_width(spec);
  const std::int64_t hidden = experts.hidden_size;
  const auto at = [e](const ExpertMatrices& list) { return list.empty() ? TensorView{} : list[e]; };
  const auto global = [e](const TensorView& scales) {
    return scales ? load_float(scales.data, scales.dtype, static_cast<std::int64_t>(e)) : 1.0f;
  };
  UnpackedExpert out;
  if (weights.gate_up_proj.empty()) {
    out.gate = matrix(experts.weight_format, {weights.gate_proj[e], {}, 1.0f}, width, hidden);
    out.up = matrix(experts.weight_format, {weights.up_proj[e], {}, 1.0f}, width, hidden);
  } else {
    const std::int64_t rows = is_gated(experts.activation) ? 2 * width : width;
    const EncodedMatrix fused{weights.gate_up_proj[e], at(weights.gate_up_scale),
                              global(weights.gate_up_global_scale)};
    split(experts, matrix(experts.weight_format, fused, rows, hidden),
          static_cast<std::size_t>(width), static_cast<std::size_t>(hidden), out.gate, out.up);
  }
  const EncodedMatrix down{weights.down_proj[e], at(weights.down_scale),
                           global(weights.down_global_scale)};
  out.down = matrix(experts.weight_format, down, hidden, width);
  const std::size_t count = weights.down_proj.size();
  if (weights.gate_up_bias) {
    split(experts, row_of(floats(weights.gate_up_bias), e, count), static_cast<std::size_t>(width),
          1, out.gate_bias, out.up_bias);
  }
  // Tensor-parallel partial sums are added up over ranks: the bias belongs to the first.
  if (spec.layer.tp_rank == 0) out.down_bias = row_of(floats(weights.down_bias), e, count);
  return out;
}

}  // namespace

Unpacked unpack(const MoeSpec& spec, const MoeWeights& weights) {
  Unpacked all;
  all.router_bias = floats(weights.router_bias);
  all.correction_bias = floats(weights.e_score_correction_bias);
  all.shared_gate = floats(weights.shared_expert_gate);
  for (std::size_t e = 0; e < weights.down_proj.size(); ++e) {
    all.experts.push_back(routed_expert(spec, weights, e));
  }
  const std::int64_t width = local_shared_width(spec);
  if (width == 0) return all;
  const std::int64_t hidden = spec.experts.hidden_size;
  const auto plain = [&](const TensorView& view, std::int64_t rows, std::int64_t columns) {
    return matrix(shared_format(spec, view.dtype), {view, {}, 1.0f}, rows, columns);
  };
  if (weights.shared_gate_up_proj) {
    const std::int64_t rows = is_gated(spec.experts.activation) ? 2 * width : width;
    split(spec.experts, plain(weights.shared_gate_up_proj, rows, hidden),
          static_cast<std::size_t>(width), static_cast<std::size_t>(hidden), all.shared.gate,
          all.shared.up);
  } else {
    all.shared.gate = plain(weights.shared_gate_proj, width, hidden);
    all.shared.up = plain(weights.shared_up_proj, width, hidden);
  }
  all.shared.down = plain(weights.shared_down_proj, hidden, width);
  return all;
}

}  // namespace sluice::auditing
