#include "backends/reference/unpack_weights.hpp"

#include <algorithm>

#include "base/element.hpp"
#include "formats/format.hpp"

namespace sluice::reference {
namespace {

using formats::EncodedMatrix;
using formats::MatrixSize;

std::vector<float> unpack_matrix(WeightFormat format, const EncodedMatrix& matrix,
                                 MatrixSize size) {
  std::vector<float> out(static_cast<std::size_t>(size.rows * size.columns));
  formats::unpack(format, matrix, size, out);
  return out;
}

// Row of gate_up_proj (or of its bias) that holds gate row i, respectively up row i.
std::int64_t gate_row(GateUpOrder order, std::int64_t i, std::int64_t width) {
  switch (order) {
    case GateUpOrder::gate_up:
      return i;
    case GateUpOrder::up_gate:
      return width + i;
    case GateUpOrder::interleaved:
      return 2 * i;
  }
  return i;
}
std::int64_t up_row(GateUpOrder order, std::int64_t i, std::int64_t width) {
  switch (order) {
    case GateUpOrder::gate_up:
      return width + i;
    case GateUpOrder::up_gate:
      return i;
    case GateUpOrder::interleaved:
      return 2 * i + 1;
  }
  return i;
}

// Rows of `columns` values, the one that row_of names for each i < width.
template <typename RowOf>
std::vector<float> pick_rows(const std::vector<float>& from, std::int64_t width,
                             std::int64_t columns, RowOf row_of) {
  std::vector<float> to;
  to.reserve(static_cast<std::size_t>(width * columns));
  for (std::int64_t i = 0; i < width; ++i) {
    const auto first = from.begin() + row_of(i) * columns;
    to.insert(to.end(), first, first + columns);
  }
  return to;
}

struct GateAndUp {
  std::vector<float> gate, up;
};

GateAndUp take_apart(const ExpertSpec& experts, std::vector<float> fused, std::int64_t width,
                     std::int64_t columns) {
  if (!is_gated(experts.activation)) return {std::move(fused), {}};
  const GateUpOrder order = experts.gate_up_order;
  return {pick_rows(fused, width, columns, [&](auto i) { return gate_row(order, i, width); }),
          pick_rows(fused, width, columns, [&](auto i) { return up_row(order, i, width); })};
}

std::vector<float> vector_row(const std::vector<float>& stacked, std::size_t row,
                              std::size_t columns) {
  if (stacked.empty()) return {};
  const auto first = stacked.begin() + static_cast<std::ptrdiff_t>(row * columns);
  return {first, first + static_cast<std::ptrdiff_t>(columns)};
}

TensorView at(const ExpertMatrices& matrices, std::size_t expert) {
  return matrices.empty() ? TensorView{} : matrices[expert];
}

float global_scale(const TensorView& scales, std::size_t expert) {
  return scales ? load_float(scales.data, scales.dtype, static_cast<std::int64_t>(expert)) : 1.0f;
}

// Shared experts stay plain floats where routed experts are scaled (check_weights).
WeightFormat shared_format(const MoeSpec& spec, const TensorView& matrix) {
  const WeightFormat format = spec.experts.weight_format;
  if (!formats::has_scales(format)) return format;
  return matrix.dtype == DType::f32   ? WeightFormat::f32
         : matrix.dtype == DType::f16 ? WeightFormat::f16
                                      : WeightFormat::bf16;
}

}  // namespace

std::vector<float> unpack_vector(const TensorView& view) {
  if (view.empty()) return {};
  std::vector<float> values(static_cast<std::size_t>(view.shape.elements()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = load_float(view.data, view.dtype, static_cast<std::int64_t>(i));
  }
  return values;
}

std::vector<ExpertWeights> unpack_experts(const MoeSpec& spec, const MoeWeights& weights) {
  const WeightFormat format = spec.experts.weight_format;
  const std::int64_t hidden = spec.experts.hidden_size;
  const std::int64_t width = local_width(spec);
  const std::int64_t rows = is_gated(spec.experts.activation) ? 2 * width : width;
  const std::vector<float> gate_up_bias = unpack_vector(weights.gate_up_bias);
  const std::vector<float> down_bias = unpack_vector(weights.down_bias);

  std::vector<ExpertWeights> all(weights.down_proj.size());
  for (std::size_t e = 0; e < all.size(); ++e) {
    ExpertWeights& expert = all[e];
    expert.width = width;
    if (weights.gate_up_proj.empty()) {
      expert.gate = unpack_matrix(format, {weights.gate_proj[e], {}, 1.0f}, {width, hidden});
      expert.up = unpack_matrix(format, {weights.up_proj[e], {}, 1.0f}, {width, hidden});
    } else {
      const EncodedMatrix fused{weights.gate_up_proj[e], at(weights.gate_up_scale, e),
                                global_scale(weights.gate_up_global_scale, e)};
      GateAndUp halves =
          take_apart(spec.experts, unpack_matrix(format, fused, {rows, hidden}), width, hidden);
      expert.gate = std::move(halves.gate);
      expert.up = std::move(halves.up);
    }
    const EncodedMatrix down{weights.down_proj[e], at(weights.down_scale, e),
                             global_scale(weights.down_global_scale, e)};
    expert.down = unpack_matrix(format, down, {hidden, width});
    if (!gate_up_bias.empty()) {
      GateAndUp halves = take_apart(
          spec.experts, vector_row(gate_up_bias, e, static_cast<std::size_t>(rows)), width, 1);
      expert.gate_bias = std::move(halves.gate);
      expert.up_bias = std::move(halves.up);
    }
    // Ranks of tensor parallelism are summed: the first adds the bias, once.
    if (spec.layer.tp_rank == 0) {
      expert.down_bias = vector_row(down_bias, e, static_cast<std::size_t>(hidden));
    }
  }
  return all;
}

ExpertWeights unpack_shared(const MoeSpec& spec, const MoeWeights& weights) {
  ExpertWeights shared;
  shared.width = local_shared_width(spec);
  if (shared.width == 0) return shared;
  const std::int64_t hidden = spec.experts.hidden_size;
  const auto unpack = [&](const TensorView& matrix, std::int64_t rows, std::int64_t columns) {
    return unpack_matrix(shared_format(spec, matrix), {matrix, {}, 1.0f}, {rows, columns});
  };
  if (weights.shared_gate_up_proj) {
    const std::int64_t rows = is_gated(spec.experts.activation) ? 2 * shared.width : shared.width;
    GateAndUp halves = take_apart(spec.experts, unpack(weights.shared_gate_up_proj, rows, hidden),
                                  shared.width, hidden);
    shared.gate = std::move(halves.gate);
    shared.up = std::move(halves.up);
  } else {
    shared.gate = unpack(weights.shared_gate_proj, shared.width, hidden);
    shared.up = unpack(weights.shared_up_proj, shared.width, hidden);
  }
  shared.down = unpack(weights.shared_down_proj, hidden, shared.width);
  return shared;
}

}  // namespace sluice::reference
