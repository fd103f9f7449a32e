#include "stacked_weights.hpp"

#include <cstring>
#include <deque>
#include <vector>

#include "base/element.hpp"

namespace sluice::python {
namespace {

using auditing::OwnedTensor;

// [n, rows, columns] from n groups of matrices that stand below each other.
OwnedTensor stack(const std::vector<std::vector<TensorView>>& groups) {
  if (groups.empty()) return {};
  Shape shape{static_cast<std::int64_t>(groups.size())};
  std::int64_t rows = 0;
  for (const TensorView& part : groups[0]) rows += part.shape.rank() > 0 ? part.shape[0] : 1;
  if (groups[0][0].shape.rank() > 0) shape.append(rows);
  for (int axis = 1; axis < groups[0][0].shape.rank(); ++axis) {
    shape.append(groups[0][0].shape[axis]);
  }
  OwnedTensor stacked(groups[0][0].dtype, shape);
  std::byte* out = stacked.data();
  for (const auto& group : groups) {
    for (const TensorView& part : group) {
      const auto bytes =
          static_cast<std::size_t>((part.shape.elements() * bits(part.dtype) + 7) / 8);
      if (bytes > 0) std::memcpy(out, part.data, bytes);
      out += bytes;
    }
  }
  return stacked;
}

OwnedTensor stack(const ExpertMatrices& matrices) {
  std::vector<std::vector<TensorView>> groups;
  for (const TensorView& matrix : matrices) groups.push_back({matrix});
  return stack(groups);
}

OwnedTensor as_floats(const TensorView& matrix) {
  OwnedTensor floats(DType::f32, matrix.shape);
  for (std::int64_t i = 0; i < floats.elements(); ++i) {
    floats.set(i, load_float(matrix.data, matrix.dtype, i));
  }
  return floats;
}

OwnedTensor stack(const ExpertMatrices& gate, const ExpertMatrices& up) {
  std::deque<OwnedTensor> widened;
  std::vector<std::vector<TensorView>> groups;
  // Experts may differ, too: one of them in another dtype, and all are widened.
  bool same = true;
  for (std::size_t i = 0; i < gate.size(); ++i) {
    same = same && gate[i].dtype == gate[0].dtype && up[i].dtype == gate[0].dtype;
  }
  const auto part = [&](const TensorView& matrix) {
    return same ? matrix : widened.emplace_back(as_floats(matrix)).view();
  };
  for (std::size_t i = 0; i < gate.size(); ++i) groups.push_back({part(gate[i]), part(up[i])});
  return stack(groups);
}

// Of matrices that nobody holds. Those of quantised formats have no width to tell either.
DType plain_dtype(WeightFormat format) {
  if (format == WeightFormat::f32) return DType::f32;
  return format == WeightFormat::f16 ? DType::f16 : DType::bf16;
}

OwnedTensor without_first_axis(const OwnedTensor& stacked) {
  const TensorView view = stacked.view();
  Shape shape;
  for (int axis = 1; axis < view.shape.rank(); ++axis) shape.append(view.shape[axis]);
  return OwnedTensor::copy_of({view.data, view.dtype, shape, {}});
}

}  // namespace

StackedWeights stack_weights(const MoeSpec& spec, const MoeWeights& weights) {
  StackedWeights named;
  const auto add = [&](const char* name, OwnedTensor tensor) {
    if (tensor.given()) named.emplace(name, std::move(tensor));
  };
  const auto add_view = [&](const char* name, const TensorView& view) {
    if (view) add(name, OwnedTensor::copy_of(view));
  };
  add_view("router.weight", weights.router_weight);
  add_view("router_bias", weights.router_bias);
  add_view("e_score_correction_bias", weights.e_score_correction_bias);
  add("gate_up_proj", weights.gate_up_proj.empty() ? stack(weights.gate_proj, weights.up_proj)
                                                   : stack(weights.gate_up_proj));
  add("down_proj", stack(weights.down_proj));
  if (weights.down_proj.empty()) {
    const std::int64_t hidden = spec.experts.hidden_size;
    const std::int64_t width = local_width(spec);
    const std::int64_t rows = is_gated(spec.experts.activation) ? 2 * width : width;
    const DType dtype = plain_dtype(spec.experts.weight_format);
    add("gate_up_proj", OwnedTensor(dtype, {0, rows, hidden}));
    add("down_proj", OwnedTensor(dtype, {0, hidden, width}));
  }
  add_view("gate_up_bias", weights.gate_up_bias);
  add_view("down_bias", weights.down_bias);
  if (weights.shared_gate_up_proj) {
    add_view("shared.gate_up_proj", weights.shared_gate_up_proj);
  } else if (weights.shared_gate_proj) {
    add("shared.gate_up_proj",
        without_first_axis(stack({weights.shared_gate_proj}, {weights.shared_up_proj})));
  }
  add_view("shared.down_proj", weights.shared_down_proj);
  add_view("shared_expert_gate", weights.shared_expert_gate);
  add("gate_up_scale", stack(weights.gate_up_scale));
  add("down_scale", stack(weights.down_scale));
  add_view("gate_up_global_scale", weights.gate_up_global_scale);
  add_view("down_global_scale", weights.down_global_scale);
  return named;
}

}  // namespace sluice::python
