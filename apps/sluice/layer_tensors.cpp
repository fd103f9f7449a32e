#include "layer_tensors.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "base/element.hpp"
#include "base/fail.hpp"
#include "base/nearest_name.hpp"

namespace sluice::cli {
namespace {

constexpr std::array<std::string_view, 14> kWeightNames{
    "router.weight",      "router_bias",         "e_score_correction_bias",
    "gate_up_proj",       "down_proj",           "gate_up_bias",
    "down_bias",          "shared.gate_up_proj", "shared.down_proj",
    "shared_expert_gate", "gate_up_scale",       "gate_up_global_scale",
    "down_global_scale",  "down_scale"};
constexpr std::array<std::string_view, 4> kInputNames{"hidden_states", "router_logits", "topk_ids",
                                                      "topk_weights"};

template <std::size_t N>
bool is_one_of(const std::array<std::string_view, N>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// The 16-bit format that F32 matrices are rounded to; F32 where they stay as they are.
DType rounded_dtype(WeightFormat format) {
  if (format == WeightFormat::bf16) return DType::bf16;
  return format == WeightFormat::f16 ? DType::f16 : DType::f32;
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

LayerWeights::LayerWeights(const std::string& path, const MoeSpec& spec)
    : spec_(spec), local_(local_experts(spec)), file_(Checkpoint::open(path)) {
  refuse_unknown_names();
  const auto given = [&](const char* name) { return file_.find(name).value_or(TensorView{}); };
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
  weights_.gate_up_global_scale = given("gate_up_global_scale");
  weights_.down_global_scale = given("down_global_scale");
}

TensorView LayerWeights::matrix(const char* name) {
  const auto found = file_.find(name);
  if (!found) return {};
  const DType dtype = rounded_dtype(spec_.experts.weight_format);
  if (found->dtype != DType::f32 || dtype == DType::f32) return *found;
  const std::int64_t count = found->shape.elements();
  AlignedBuffer& rounded = owned_.emplace_back(static_cast<std::size_t>(count) * 2);
  for (std::int64_t i = 0; i < count; ++i) {
    store_float(rounded.data(), dtype, i, load_float(found->data, found->dtype, i));
  }
  return {rounded.data(), dtype, found->shape, {}};
}

ExpertMatrices LayerWeights::matrices(const char* name) {
  const bool is_scale = std::string_view(name).ends_with("_scale");
  const TensorView stacked = is_scale ? file_.find(name).value_or(TensorView{}) : matrix(name);
  if (!stacked) return {};
  ExpertMatrices all = split_experts(stacked);
  if (all.size() == local_.size() ||
      all.size() != static_cast<std::size_t>(spec_.router.num_experts)) {
    return all;  // check_weights says so if the count is wrong
  }
  ExpertMatrices own;
  for (std::int64_t expert : local_) own.push_back(all[static_cast<std::size_t>(expert)]);
  return own;
}

TensorView LayerWeights::rows_of_local_experts(const char* name) {
  const auto found = file_.find(name);
  if (!found) return {};
  const auto local_count = static_cast<std::int64_t>(local_.size());
  if (found->shape.rank() != 2 || found->shape[0] == local_count ||
      found->shape[0] != spec_.router.num_experts) {
    return *found;
  }
  const auto row_bytes = static_cast<std::size_t>(found->shape[1] * bits(found->dtype) / 8);
  AlignedBuffer& rows = owned_.emplace_back(local_.size() * row_bytes);
  for (std::size_t local = 0; local < local_.size(); ++local) {
    std::memcpy(rows.data() + local * row_bytes,
                static_cast<const std::byte*>(found->data) +
                    static_cast<std::size_t>(local_[local]) * row_bytes,
                row_bytes);
  }
  return {rows.data(), found->dtype, {local_count, found->shape[1]}, {}};
}

void LayerWeights::refuse_unknown_names() const {
  for (const TensorInfo& tensor : file_.tensors()) {
    if (is_one_of(kWeightNames, tensor.name)) continue;
    fail(ErrorKind::user, "{}: tensor \"{}\" is no part of a layer{}", tensor.file, tensor.name,
         did_you_mean(tensor.name, kWeightNames));
  }
}

LayerInput::LayerInput(const std::string& path) : file(Checkpoint::open(path)) {
  const auto given = [&](const char* name) { return file.find(name).value_or(TensorView{}); };
  if (!file.contains("hidden_states")) {
    fail(ErrorKind::user, "{} holds no tensor \"hidden_states\"", path);
  }
  tensors.hidden_states = given("hidden_states");
  tensors.router_logits = given("router_logits");
  tensors.topk_ids = given("topk_ids");
  tensors.topk_weights = given("topk_weights");
  for (const TensorInfo& tensor : file.tensors()) {
    if (!is_one_of(kInputNames, tensor.name)) unread.push_back(tensor.name);
  }
}

}  // namespace sluice::cli
