#include "audit/faults/edit_weights.hpp"

#include <algorithm>
#include <array>

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

std::array<ExpertMatrices*, 6> expert_lists(MoeWeights& weights) {
  return {&weights.gate_up_proj, &weights.gate_proj,     &weights.up_proj,
          &weights.down_proj,    &weights.gate_up_scale, &weights.down_scale};
}

template <typename T>
void repeat_to(std::vector<T>& list, std::size_t count) {
  if (list.empty()) return;
  const std::vector<T> original = list;
  list.resize(count);
  for (std::size_t i = 0; i < count; ++i) list[i] = original[i % original.size()];
}

// Row `row` of the result is row pick(row) of the view.
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

void fit_local_experts(Load& load, const MoeSpec& before) {
  const std::int64_t count = local_expert_count(load.spec);
  if (count == local_expert_count(before)) return;
  const auto size = static_cast<std::size_t>(count);
  MoeWeights& weights = load.weights;
  for (ExpertMatrices* list : expert_lists(weights)) repeat_to(*list, size);
  for (TensorView* bias : {&weights.gate_up_bias, &weights.down_bias}) {
    if (!*bias) continue;
    const std::int64_t held = bias->shape[0];
    if (held == 0) continue;
    *bias = pick_rows(load, *bias, count, [held](std::int64_t row) { return row % held; });
  }
}

struct Block {
  TensorView* gate_up;
  TensorView* gate;
  TensorView* up;
  TensorView* down;
};

TensorView cut_columns(Load& load, const TensorView& matrix, std::int64_t to) {
  const std::int64_t from = matrix.shape[1];
  OwnedTensor cut(matrix.dtype, {matrix.shape[0], to});
  for (std::int64_t i = 0; i < cut.elements(); ++i) {
    cut.set(i, load_float(matrix.data, matrix.dtype, i / to * from + i % to % from));
  }
  return load.keep(std::move(cut));
}

// Row of a block `from` wide that row `row` of one `to` wide reads.
std::int64_t source_row(const ExpertSpec& experts, std::int64_t row, std::int64_t from,
                        std::int64_t to) {
  if (!is_gated(experts.activation)) return row % from;
  if (experts.gate_up_order == GateUpOrder::interleaved) return row % (2 * from);
  return row < to ? row % from : from + (row - to) % from;
}

void fit_block(Load& load, const Block& block, std::int64_t from, std::int64_t to) {
  const ExpertSpec& experts = load.spec.experts;
  if (block.gate_up != nullptr && *block.gate_up) {
    const std::int64_t rows = is_gated(experts.activation) ? 2 * to : to;
    *block.gate_up = pick_rows(load, *block.gate_up, rows, [&](std::int64_t row) {
      return source_row(experts, row, from, to);
    });
  }
  for (TensorView* half : {block.gate, block.up}) {
    if (half == nullptr || !*half) continue;
    *half = pick_rows(load, *half, to, [from](std::int64_t row) { return row % from; });
  }
  *block.down = cut_columns(load, *block.down, to);
}

void fit_widths(Load& load, const MoeSpec& before) {
  MoeWeights& weights = load.weights;
  if (const auto from = local_width(before), to = local_width(load.spec); from != to) {
    for (std::size_t e = 0; e < weights.down_proj.size(); ++e) {
      const auto at = [e](ExpertMatrices& list) { return list.empty() ? nullptr : &list[e]; };
      fit_block(load,
                {at(weights.gate_up_proj), at(weights.gate_proj), at(weights.up_proj),
                 &weights.down_proj[e]},
                from, to);
    }
    if (weights.gate_up_bias) {
      const TensorView bias = weights.gate_up_bias;
      const std::int64_t rows = is_gated(load.spec.experts.activation) ? 2 * to : to;
      OwnedTensor fitted(bias.dtype, {bias.shape[0], rows});
      for (std::int64_t i = 0; i < fitted.elements(); ++i) {
        const std::int64_t row = source_row(load.spec.experts, i % rows, from, to);
        fitted.set(i, load_float(bias.data, bias.dtype, i / rows * bias.shape[1] + row));
      }
      weights.gate_up_bias = load.keep(std::move(fitted));
    }
  }
  if (const auto from = local_shared_width(before), to = local_shared_width(load.spec);
      from != to && to != 0) {
    fit_block(load,
              {&weights.shared_gate_up_proj, &weights.shared_gate_proj, &weights.shared_up_proj,
               &weights.shared_down_proj},
              from, to);
  }
}

// A non-gated GEMM 1 read as a gated one: the same rows serve as gate and as up.
void fit_gate(Load& load, const MoeSpec& before) {
  if (is_gated(before.experts.activation) || !is_gated(load.spec.experts.activation)) return;
  const auto twice = [&](TensorView& view, std::int64_t rows) {
    if (view)
      view = pick_rows(load, view, 2 * rows, [rows](std::int64_t row) { return row % rows; });
  };
  MoeWeights& weights = load.weights;
  for (TensorView& matrix : weights.gate_up_proj) twice(matrix, matrix.shape[0]);
  if (weights.shared_gate_up_proj) {
    twice(weights.shared_gate_up_proj, weights.shared_gate_up_proj.shape[0]);
  }
  if (weights.gate_up_bias) {
    const TensorView bias = weights.gate_up_bias;
    const std::int64_t width = bias.shape[1];
    OwnedTensor wide(bias.dtype, {bias.shape[0], 2 * width});
    for (std::int64_t i = 0; i < wide.elements(); ++i) {
      const std::int64_t row = i / (2 * width);
      wide.set(i, load_float(bias.data, bias.dtype, row * width + i % width));
    }
    weights.gate_up_bias = load.keep(std::move(wide));
  }
}

bool is_plain(WeightFormat format) {
  return format == WeightFormat::bf16 || format == WeightFormat::f32 || format == WeightFormat::f16;
}

// Bits of another encoding read as bf16: 16-bit values as they lie, everything else by value with
// its scales forgotten.
void fit_weight_format(Load& load, const MoeSpec& before) {
  if (before.experts.weight_format == load.spec.experts.weight_format) return;
  MoeWeights& weights = load.weights;
  const auto reread = [&](ExpertMatrices& matrices) {
    for (TensorView& matrix : matrices) {
      if (matrix.dtype == DType::f16) {
        matrix.dtype = DType::bf16;
      } else if (is_plain(before.experts.weight_format)) {
        matrix = edited(load, matrix, 0, [](std::span<float>, auto, auto, auto) {});
      }
    }
  };
  reread(weights.gate_up_proj);
  reread(weights.gate_proj);
  reread(weights.up_proj);
  reread(weights.down_proj);
  for (TensorView* view : {&weights.shared_gate_up_proj, &weights.shared_gate_proj,
                           &weights.shared_up_proj, &weights.shared_down_proj}) {
    if (*view && view->dtype == DType::f16) view->dtype = DType::bf16;
  }
  weights.gate_up_scale.clear();
  weights.down_scale.clear();
}

}  // namespace

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

namespace {

// Values that cannot stand once a field they lean on is gone.
void settle_spec(MoeSpec& spec) {
  RouterSpec& router = spec.router;
  if (!router.e_score_correction_bias) router.weights_from_biased_scores = false;
  router.topk_group = std::min(router.topk_group, router.n_group);
  const std::int64_t group = router.num_experts / router.n_group;
  // Fewer kept groups than K needs: what is left is no restriction at all.
  if (router.topk_group * group < router.top_k) router.topk_group = router.n_group;
  LayerSpec& layer = spec.layer;
  if (layer.num_shared_experts == 0) {
    layer.shared_intermediate_size = 0;
    layer.shared_expert_gate = false;
  }
  if (layer.num_local_experts == kAllExperts && layer.local_expert_offset != 0) {
    layer.num_local_experts = router.num_experts - layer.local_expert_offset;
  }
  layer.tp_rank = std::min(layer.tp_rank, layer.tp_size - 1);
  if (!is_gated(spec.experts.activation)) spec.experts.gate_up_order = GateUpOrder::gate_up;
}

}  // namespace

void fit_weights(Load& load, const MoeSpec& before) {
  settle_spec(load.spec);
  const MoeSpec& spec = load.spec;
  MoeWeights& weights = load.weights;
  if (!spec.router.router_bias) weights.router_bias = {};
  if (!spec.router.e_score_correction_bias) weights.e_score_correction_bias = {};
  if (!spec.experts.gate_up_bias) weights.gate_up_bias = {};
  if (!spec.experts.down_bias) weights.down_bias = {};
  if (spec.layer.num_shared_experts == 0) remove_shared(load);
  if (!spec.layer.shared_expert_gate) weights.shared_expert_gate = {};
  fit_weight_format(load, before);
  fit_gate(load, before);
  fit_widths(load, before);
  fit_local_experts(load, before);
}

}  // namespace sluice::auditing
