#include "model/moe_tensors.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "model/blocks/norm.hpp"

namespace sluice {
namespace {

enum class ExpertLayout { separate, stacked, fused };

ExpertLayout find_layout(const Checkpoint& checkpoint, const MoeTensorNames& names) {
  if (checkpoint.contains(names.experts + "gate_up_proj")) return ExpertLayout::fused;
  if (checkpoint.contains(names.experts + "gate_proj.weight")) return ExpertLayout::stacked;
  return ExpertLayout::separate;
}

// Rows [first, first + rows) of every expert's matrix.
ExpertMatrices slice_rows(const ExpertMatrices& matrices, std::int64_t first, std::int64_t rows) {
  ExpertMatrices slices;
  for (const TensorView& matrix : matrices) {
    const std::int64_t columns = matrix.shape[1];
    const std::int64_t offset = first * columns * bits(matrix.dtype) / 8;
    slices.push_back({static_cast<const std::byte*>(matrix.data) + offset,
                      matrix.dtype,
                      {rows, columns},
                      matrix.device});
  }
  return slices;
}

void append(std::vector<TensorView*>& all, ExpertMatrices& matrices) {
  for (TensorView& matrix : matrices) all.push_back(&matrix);
}

}  // namespace

std::vector<TensorExpectation> plain_expectations(std::span<const ExpectedTensor> tensors) {
  std::vector<TensorExpectation> expectations;
  expectations.reserve(tensors.size());
  for (const ExpectedTensor& tensor : tensors) {
    expectations.push_back({tensor.name, {tensor.shape}, float_dtypes()});
  }
  return expectations;
}

bool harmless_tensor(std::string_view name) { return name.ends_with(".rotary_emb.inv_freq"); }

void expect_layout(const Checkpoint& checkpoint, const MoeTensorNames& names,
                   std::string_view listed_stem, const MoeSpec& spec,
                   std::vector<TensorExpectation>& expectations) {
  const ExpertLayout layout = find_layout(checkpoint, names);
  if (layout == ExpertLayout::separate) return;
  std::erase_if(expectations, [&](const TensorExpectation& expected) {
    return expected.name.starts_with(listed_stem);
  });
  const std::int64_t experts = spec.router.num_experts;
  const std::int64_t hidden = spec.experts.hidden_size;
  const std::int64_t width = spec.experts.intermediate_size;
  const auto add = [&](const char* name, const Shape& shape) {
    expectations.push_back({names.experts + name, {shape}, float_dtypes()});
  };
  if (layout == ExpertLayout::fused) {
    add("gate_up_proj", {experts, 2 * width, hidden});
    add("down_proj", {experts, hidden, width});
  } else {
    add("gate_proj.weight", {experts, width, hidden});
    add("up_proj.weight", {experts, width, hidden});
    add("down_proj.weight", {experts, hidden, width});
  }
}

MoeTensors::MoeTensors(const WeightSource& source, const MoeTensorNames& names,
                       const MoeSpec& spec) {
  router_weight_ = source.tensor(names.router_weight);
  weights_.e_score_correction_bias = source.tensor(names.e_score_correction_bias);
  gather_experts(source, names, spec);
  if (spec.layer.num_shared_experts > 0) {
    weights_.shared_gate_proj = source.tensor(names.shared_experts + "gate_proj.weight");
    weights_.shared_up_proj = source.tensor(names.shared_experts + "up_proj.weight");
    weights_.shared_down_proj = source.tensor(names.shared_experts + "down_proj.weight");
  }
  const std::vector<TensorView*> all = matrices();
  dtype_ = all.front()->dtype;
  const auto is_same = [&](const TensorView* view) { return view->dtype == dtype_; };
  if (!std::ranges::all_of(all, is_same)) dtype_ = DType::f32;
}

void MoeTensors::gather_experts(const WeightSource& source, const MoeTensorNames& names,
                                const MoeSpec& spec) {
  const auto stacked = [&](const char* name) {
    return split_experts(source.tensor(names.experts + name));
  };
  switch (find_layout(source.checkpoint(), names)) {
    case ExpertLayout::fused: {
      const ExpertMatrices gate_up = stacked("gate_up_proj");
      const std::int64_t width = spec.experts.intermediate_size;
      weights_.gate_proj = slice_rows(gate_up, 0, width);
      weights_.up_proj = slice_rows(gate_up, width, width);
      weights_.down_proj = stacked("down_proj");
      return;
    }
    case ExpertLayout::stacked:
      weights_.gate_proj = stacked("gate_proj.weight");
      weights_.up_proj = stacked("up_proj.weight");
      weights_.down_proj = stacked("down_proj.weight");
      return;
    case ExpertLayout::separate:
      break;
  }
  for (std::int64_t expert = 0; expert < spec.router.num_experts; ++expert) {
    const auto part = [&](std::size_t index) {
      return source.tensor(
          fmt::format("{}{}.{}.weight", names.experts, expert, names.parts[index]));
    };
    weights_.gate_proj.push_back(part(0));
    weights_.up_proj.push_back(part(1));
    weights_.down_proj.push_back(part(2));
  }
}

std::vector<TensorView*> MoeTensors::matrices() {
  std::vector<TensorView*> all;
  append(all, weights_.gate_proj);
  append(all, weights_.up_proj);
  append(all, weights_.down_proj);
  for (TensorView* view :
       {&weights_.shared_gate_proj, &weights_.shared_up_proj, &weights_.shared_down_proj}) {
    if (*view) all.push_back(view);
  }
  return all;
}

const MoeWeights& MoeTensors::weights() {
  for (TensorView* view : matrices()) {
    if (view->dtype != dtype_) widen(*view);
  }
  // Checkpoints saved in half precision have it so; a layer takes no F16 biases.
  TensorView& bias = weights_.e_score_correction_bias;
  if (bias.dtype == DType::f16) widen(bias);
  return weights_;
}

void MoeTensors::widen(TensorView& view) {
  widened_.push_back(to_floats(view));
  view = {widened_.back().data(), DType::f32, view.shape, view.device};
}

}  // namespace sluice
