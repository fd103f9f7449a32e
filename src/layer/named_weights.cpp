#include "layer/named_weights.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "base/element.hpp"
#include "base/fail.hpp"
#include "base/nearest_name.hpp"
#include "base/problems.hpp"
#include "base/shown.hpp"
#include "formats/weights_check.hpp"

namespace sluice {
namespace {

constexpr std::array<std::string_view, 14> kNames{
    "router.weight",      "router_bias",         "e_score_correction_bias",
    "gate_up_proj",       "down_proj",           "gate_up_bias",
    "down_bias",          "shared.gate_up_proj", "shared.down_proj",
    "shared_expert_gate", "gate_up_scale",       "gate_up_global_scale",
    "down_global_scale",  "down_scale"};

// The 16-bit format that F32 matrices are rounded to; F32 where they stay as they are.
DType rounded_dtype(WeightFormat format) {
  if (format == WeightFormat::bf16) return DType::bf16;
  return format == WeightFormat::f16 ? DType::f16 : DType::f32;
}

void require_host(std::string_view name, const TensorView& tensor, const char* why) {
  if (tensor.device.kind == DeviceKind::cpu) return;
  fail(ErrorKind::user, "tensor \"{}\" is {} {} on {}, and {} on the host; give it as it is needed",
       name, to_string(tensor.dtype), to_string(tensor.shape), to_string(tensor.device), why);
}

ExpertMatrices split_named(std::string_view name, const TensorView& stacked) {
  try {
    return split_experts(stacked);
  } catch (const Error& error) {
    fail(error.kind(), "tensor \"{}\": {}", name, error.what());
  }
}

std::vector<std::int64_t> local_experts(const MoeSpec& spec) {
  std::vector<std::int64_t> globals(static_cast<std::size_t>(local_expert_count(spec)));
  for (std::int64_t expert = 0; expert < spec.router.num_experts; ++expert) {
    const std::int64_t local = local_expert(spec, expert);
    if (local >= 0) globals[static_cast<std::size_t>(local)] = expert;
  }
  return globals;
}

}  // namespace

std::span<const std::string_view> weight_names() { return kNames; }

NamedWeights::NamedWeights(const MoeSpec& spec, NamedTensors tensors)
    : spec_(spec), local_(local_experts(spec)), tensors_(std::move(tensors)) {
  weights_.router_weight = given("router.weight");
  weights_.router_bias = given("router_bias");
  weights_.e_score_correction_bias = given("e_score_correction_bias");
  weights_.gate_up_proj = matrices("gate_up_proj");
  weights_.down_proj = matrices("down_proj");
  weights_.gate_up_bias = rows_of_local_experts("gate_up_bias");
  weights_.down_bias = rows_of_local_experts("down_bias");
  weights_.shared_gate_up_proj = matrix("shared.gate_up_proj");
  weights_.shared_down_proj = matrix("shared.down_proj");
  weights_.shared_expert_gate = given("shared_expert_gate");
  weights_.gate_up_scale = matrices("gate_up_scale");
  weights_.down_scale = matrices("down_scale");
  weights_.gate_up_global_scale = rows_of_local_experts("gate_up_global_scale");
  weights_.down_global_scale = rows_of_local_experts("down_global_scale");
  refuse_unknown();
}

// Together with what else is wrong: the tensor that a misspelt name keeps from its place is
// missing.
void NamedWeights::refuse_unknown() const {
  Problems problems;
  bool any = false;
  for (const auto& [name, tensor] : tensors_) {
    if (std::find(kNames.begin(), kNames.end(), name) != kNames.end()) continue;
    problems.add("tensor {} is no part of a layer{}", shown(name), did_you_mean(name, kNames));
    any = true;
  }
  if (!any) return;
  formats::find_weight_problems(spec_, weights_, problems);
  formats::raise_weight_problems(problems);
}

TensorView NamedWeights::given(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? TensorView{} : found->second;
}

TensorView NamedWeights::matrix(std::string_view name) {
  const TensorView found = given(name);
  const DType dtype = rounded_dtype(spec_.experts.weight_format);
  if (!found || found.dtype != DType::f32 || dtype == DType::f32) return found;
  require_host(name, found, "F32 is rounded to weight_format");
  const std::int64_t count = found.shape.elements();
  AlignedBuffer& rounded = owned_.emplace_back(static_cast<std::size_t>(count) * 2 + 1);
  for (std::int64_t i = 0; i < count; ++i) {
    store_float(rounded.data(), dtype, i, load_float(found.data, found.dtype, i));
  }
  return {rounded.data(), dtype, found.shape, {}};
}

ExpertMatrices NamedWeights::matrices(std::string_view name) {
  const TensorView stacked = name.ends_with("_scale") ? given(name) : matrix(name);
  if (!stacked) return {};
  ExpertMatrices all = split_named(name, stacked);
  // Not "more than this rank's": a map may hold every expert, in an order of its own.
  if (all.size() != static_cast<std::size_t>(spec_.router.num_experts)) {
    return all;  // check_weights says so if the count is wrong
  }
  ExpertMatrices own;
  for (const std::int64_t expert : local_) own.push_back(all[static_cast<std::size_t>(expert)]);
  return own;
}

// [experts] or [experts, …] in one piece; backends read it by local number.
TensorView NamedWeights::rows_of_local_experts(std::string_view name) {
  const TensorView found = given(name);
  const auto local_count = static_cast<std::int64_t>(local_.size());
  if (!found || found.shape.rank() == 0 || found.shape[0] != spec_.router.num_experts) return found;
  // All of them, in their order: nothing to gather, wherever the tensor is.
  if (local_count == found.shape[0] && std::is_sorted(local_.begin(), local_.end())) return found;
  require_host(name, found, "this rank's rows are gathered");
  Shape shape{local_count};
  for (int axis = 1; axis < found.shape.rank(); ++axis) shape.append(found.shape[axis]);
  const auto row_bytes =
      static_cast<std::size_t>(found.shape.elements() / found.shape[0] * bits(found.dtype) / 8);
  AlignedBuffer& rows = owned_.emplace_back(local_.size() * row_bytes + 1);
  for (std::size_t local = 0; local < local_.size(); ++local) {
    std::memcpy(rows.data() + local * row_bytes,
                static_cast<const std::byte*>(found.data) +
                    static_cast<std::size_t>(local_[local]) * row_bytes,
                row_bytes);
  }
  return {rows.data(), found.dtype, shape, {}};
}

}  // namespace sluice
