#include "audit/faults/edit_weights.hpp"

#include "formats/format.hpp"

namespace sluice::auditing {
namespace {

TensorView edited(Load& load, const TensorView& view, std::int64_t expert, const EditMatrix& edit) {
  std::vector<float> values = to_floats(view);
  const std::int64_t rows = view.shape.rank() == 2 ? view.shape[0] : 1;
  const std::int64_t columns = view.shape[view.shape.rank() - 1];
  edit(values, rows, columns, expert);
  OwnedTensor copy(view.dtype, view.shape);
  for (std::size_t i = 0; i < values.size(); ++i) {
    copy.set(static_cast<std::int64_t>(i), values[i]);
  }
  return load.keep(std::move(copy));
}

struct Encoded {
  ExpertMatrices& values;
  ExpertMatrices& scales;
  TensorView& global;
};

// Scaled formats: unpacked, edited, and packed again with scales of their own.
void edit_packed(Load& load, const Encoded& all, std::int64_t rows, std::int64_t columns,
                 const EditMatrix& edit) {
  const WeightFormat format = load.spec.experts.weight_format;
  const formats::MatrixSize size{rows, columns};
  OwnedTensor global(DType::f32, {static_cast<std::int64_t>(all.values.size())});
  std::vector<float> matrix(static_cast<std::size_t>(rows * columns));
  for (std::size_t e = 0; e < all.values.size(); ++e) {
    const auto at = static_cast<std::int64_t>(e);
    const float scale = all.global ? load_float(all.global.data, all.global.dtype, at) : 1.0f;
    formats::unpack(format, {all.values[e], all.scales[e], scale}, size, matrix);
    edit(matrix, rows, columns, at);
    const formats::PackedMatrix packed = formats::pack(format, matrix, size);
    const formats::EncodedMatrix view = packed.view();
    all.values[e] = load.keep(OwnedTensor::copy_of(view.values));
    all.scales[e] = load.keep(OwnedTensor::copy_of(view.scales));
    global.set(at, packed.global_scale);
  }
  if (all.global) all.global = load.keep(std::move(global));
}

void edit_all(Load& load, ExpertMatrices& matrices, const EditMatrix& edit) {
  for (std::size_t e = 0; e < matrices.size(); ++e) {
    matrices[e] = edited(load, matrices[e], static_cast<std::int64_t>(e), edit);
  }
}

void edit_one(Load& load, TensorView& view, const EditMatrix& edit) {
  if (view) view = edited(load, view, -1, edit);
}

}  // namespace

std::array<ExpertMatrices*, 6> expert_lists(MoeWeights& weights) {
  return {&weights.gate_up_proj, &weights.gate_proj,     &weights.up_proj,
          &weights.down_proj,    &weights.gate_up_scale, &weights.down_scale};
}

TensorView pick_rows(Load& load, const TensorView& view, std::int64_t rows,
                     const std::function<std::int64_t(std::int64_t)>& pick) {
  const std::int64_t columns = view.shape[1];
  OwnedTensor result(view.dtype, {rows, columns});
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t c = 0; c < columns; ++c) {
      result.set(row * columns + c, load_float(view.data, view.dtype, pick(row) * columns + c));
    }
  }
  return load.keep(std::move(result));
}

void edit_gate_up(Load& load, const EditMatrix& edit) {
  MoeWeights& weights = load.weights;
  if (!weights.gate_up_scale.empty()) {
    const std::int64_t width = local_width(load.spec);
    return edit_packed(load,
                       {weights.gate_up_proj, weights.gate_up_scale, weights.gate_up_global_scale},
                       is_gated(load.spec.experts.activation) ? 2 * width : width,
                       load.spec.experts.hidden_size, edit);
  }
  edit_all(load, load.weights.gate_up_proj, edit);
  edit_all(load, load.weights.gate_proj, edit);
  edit_all(load, load.weights.up_proj, edit);
}

void edit_down(Load& load, const EditMatrix& edit) {
  MoeWeights& weights = load.weights;
  if (!weights.down_scale.empty()) {
    return edit_packed(load, {weights.down_proj, weights.down_scale, weights.down_global_scale},
                       load.spec.experts.hidden_size, local_width(load.spec), edit);
  }
  edit_all(load, weights.down_proj, edit);
}

void edit_shared_gate_up(Load& load, const EditMatrix& edit) {
  edit_one(load, load.weights.shared_gate_up_proj, edit);
  edit_one(load, load.weights.shared_gate_proj, edit);
  edit_one(load, load.weights.shared_up_proj, edit);
}

void edit_shared_down(Load& load, const EditMatrix& edit) {
  edit_one(load, load.weights.shared_down_proj, edit);
}

void edit_tensor(Load& load, TensorView& tensor,
                 const std::function<void(std::span<float>)>& edit) {
  if (!tensor) return;
  std::vector<float> values = to_floats(tensor);
  edit(values);
  OwnedTensor copy(DType::f32, tensor.shape);
  for (std::size_t i = 0; i < values.size(); ++i) copy.set(static_cast<std::int64_t>(i), values[i]);
  tensor = load.keep(std::move(copy));
}

void remove_shared(Load& load) {
  load.spec.layer.num_shared_experts = 0;
  load.spec.layer.shared_intermediate_size = 0;
  load.spec.layer.shared_expert_gate = false;
  load.weights.shared_gate_up_proj = {};
  load.weights.shared_gate_proj = {};
  load.weights.shared_up_proj = {};
  load.weights.shared_down_proj = {};
  load.weights.shared_expert_gate = {};
}

void spread_experts(Load& load, const std::function<std::int64_t(std::int64_t)>& pick) {
  MoeWeights& weights = load.weights;
  const std::int64_t experts = load.spec.router.num_experts;
  for (ExpertMatrices* list : expert_lists(weights)) {
    if (list->empty()) continue;
    ExpertMatrices spread;
    for (std::int64_t e = 0; e < experts; ++e) {
      spread.push_back((*list)[static_cast<std::size_t>(pick(e))]);
    }
    *list = std::move(spread);
  }
  for (TensorView* bias : {&weights.gate_up_bias, &weights.down_bias}) {
    if (*bias) *bias = pick_rows(load, *bias, experts, pick);
  }
  load.spec.layer.expert_map.clear();
  load.spec.layer.local_expert_offset = 0;
  load.spec.layer.num_local_experts = kAllExperts;
}

}  // namespace sluice::auditing
