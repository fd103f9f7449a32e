#include "audit/edit_case.hpp"

#include <cstring>

#include "audit/cases/draw_tensors.hpp"
#include "audit/faults/fault.hpp"

namespace sluice::auditing {
namespace {

OwnedTensor stack(const ExpertMatrices& matrices) {
  if (matrices.empty()) return {};
  const Shape& one = matrices.front().shape;
  Shape shape{static_cast<std::int64_t>(matrices.size())};
  if (one.rank() == 0) shape.append(1);
  for (int axis = 0; axis < one.rank(); ++axis) shape.append(one[axis]);
  OwnedTensor all(matrices.front().dtype, shape);
  const std::size_t bytes = all.size_bytes() / matrices.size();
  for (std::size_t e = 0; e < matrices.size(); ++e) {
    std::memcpy(all.data() + e * bytes, matrices[e].data, bytes);
  }
  return all;
}

OwnedTensor copy(const TensorView& view) {
  return view ? OwnedTensor::copy_of(view) : OwnedTensor{};
}

}  // namespace

Case from_load(const Case& subject, const Load& load) {
  Case changed;
  changed.regime = subject.regime;
  changed.seed = subject.seed;
  changed.statistical = subject.statistical;
  changed.spec = load.spec;
  for (const auto& [name, tensor] : subject.tensors) {
    if (is_input(name)) changed.tensors[name] = tensor;
  }
  const MoeWeights& w = load.weights;
  const auto put = [&](const char* name, OwnedTensor tensor) {
    if (tensor.given()) changed.tensors[name] = std::move(tensor);
  };
  put("router_bias", copy(w.router_bias));
  put("e_score_correction_bias", copy(w.e_score_correction_bias));
  put("gate_up_proj", stack(w.gate_up_proj));
  put("down_proj", stack(w.down_proj));
  put("gate_up_bias", copy(w.gate_up_bias));
  put("down_bias", copy(w.down_bias));
  put("shared.gate_up_proj", copy(w.shared_gate_up_proj));
  put("shared.down_proj", copy(w.shared_down_proj));
  put("shared_expert_gate", copy(w.shared_expert_gate));
  put("gate_up_scale", stack(w.gate_up_scale));
  put("down_scale", stack(w.down_scale));
  put("gate_up_global_scale", copy(w.gate_up_global_scale));
  put("down_global_scale", copy(w.down_global_scale));
  return changed;
}

std::optional<Case> without_field(const Case& subject, const Field& field) {
  const MoeWeights weights = subject.weights();
  const Fault fault = drop_fault(field.name)(subject.spec, weights);
  Load load{subject.spec, weights, {}};
  try {
    fault.load(load);
    validate(load.spec);
    Case changed = from_load(subject, load);
    check_weights(changed.spec, changed.weights());
    return changed;
  } catch (const Error&) {
    return std::nullopt;
  }
}

}  // namespace sluice::auditing
