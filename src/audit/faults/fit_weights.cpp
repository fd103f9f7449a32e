// Tensors made to fit another spec, without the crash that the wrong sizes would give.
#include <algorithm>

#include "audit/faults/edit_weights.hpp"

namespace sluice::auditing {
namespace {

template <typename T>
void repeat_to(std::vector<T>& list, std::size_t count) {
  if (list.empty()) return;
  const std::vector<T> original = list;
  list.resize(count);
  for (std::size_t i = 0; i < count; ++i) list[i] = original[i % original.size()];
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

// 16-bit values of another encoding read as bf16 as they lie; everything else by value, with its
// scales forgotten.
void fit_weight_format(Load& load, const MoeSpec& before) {
  if (before.experts.weight_format == load.spec.experts.weight_format) return;
  MoeWeights& weights = load.weights;
  const auto reread = [](TensorView& view) {
    if (view && view.dtype == DType::f16) view.dtype = DType::bf16;
  };
  for (ExpertMatrices* list :
       {&weights.gate_up_proj, &weights.gate_proj, &weights.up_proj, &weights.down_proj}) {
    std::for_each(list->begin(), list->end(), reread);
  }
  for (TensorView* view : {&weights.shared_gate_up_proj, &weights.shared_gate_proj,
                           &weights.shared_up_proj, &weights.shared_down_proj}) {
    reread(*view);
  }
  weights.gate_up_scale.clear();
  weights.down_scale.clear();
}

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
