#include "audit/case.hpp"

namespace sluice::auditing {

const OwnedTensor* Case::find(std::string_view name) const {
  const auto found = tensors.find(name);
  return found == tensors.end() ? nullptr : &found->second;
}

TensorView Case::view(std::string_view name) const {
  const OwnedTensor* tensor = find(name);
  return tensor == nullptr ? TensorView{} : tensor->view();
}

DType Case::output_dtype() const {
  switch (spec.layer.output_dtype) {
    case OutputDType::f32:
      return DType::f32;
    case OutputDType::bf16:
      return DType::bf16;
    case OutputDType::f16:
      return DType::f16;
    case OutputDType::as_input:
      break;
  }
  return find("hidden_states")->dtype();
}

MoeWeights Case::weights() const {
  const auto matrices = [&](std::string_view name) {
    const TensorView stacked = view(name);
    return stacked ? split_experts(stacked) : ExpertMatrices{};
  };
  MoeWeights weights;
  weights.router_bias = view("router_bias");
  weights.e_score_correction_bias = view("e_score_correction_bias");
  weights.gate_up_proj = matrices("gate_up_proj");
  weights.down_proj = matrices("down_proj");
  weights.gate_up_bias = view("gate_up_bias");
  weights.down_bias = view("down_bias");
  weights.shared_gate_up_proj = view("shared.gate_up_proj");
  weights.shared_down_proj = view("shared.down_proj");
  weights.shared_expert_gate = view("shared_expert_gate");
  weights.gate_up_scale = matrices("gate_up_scale");
  weights.down_scale = matrices("down_scale");
  weights.gate_up_global_scale = view("gate_up_global_scale");
  weights.down_global_scale = view("down_global_scale");
  return weights;
}

ForwardInput Case::input() const {
  return {view("hidden_states"), view("router_logits"), view("topk_ids"), view("topk_weights")};
}

bool is_input(std::string_view name) {
  return name == "hidden_states" || name == "router_logits" || name == "topk_ids" ||
         name == "topk_weights";
}

}  // namespace sluice::auditing
