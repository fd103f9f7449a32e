#include "layer/check_devices.hpp"

#include <optional>
#include <utility>

#include "base/fail.hpp"

namespace sluice {

Device common_device(const ForwardInput& input, const ForwardOutput& output) {
  const std::pair<const char*, TensorView> tensors[] = {
      {"hidden_states", input.hidden_states}, {"router_logits", input.router_logits},
      {"topk_ids", input.topk_ids},           {"topk_weights", input.topk_weights},
      {"token_count", input.token_count},     {"output", output.output},
      {"output topk_ids", output.topk_ids},   {"output topk_weights", output.topk_weights}};
  const std::pair<const char*, TensorView>* first = nullptr;
  for (const auto& named : tensors) {
    if (!named.second) continue;
    if (first == nullptr) first = &named;
    if (named.second.device == first->second.device) continue;
    fail(ErrorKind::user, "{} is on {} and {} on {}; give all tensors of a call on one device",
         first->first, to_string(first->second.device), named.first,
         to_string(named.second.device));
  }
  return first == nullptr ? Device{} : first->second.device;
}

void check_weight_devices(const MoeWeights& weights, Device device, std::string_view backend) {
  const auto check = [&](std::string_view name, const TensorView& tensor) {
    if (!tensor || tensor.device.kind == DeviceKind::cpu || tensor.device == device) return;
    if (device.kind == DeviceKind::cpu) {
      fail(ErrorKind::unsupported, "tensor \"{}\" is on {}, and backend {} reads host memory", name,
           to_string(tensor.device), backend);
    }
    fail(ErrorKind::unsupported, "tensor \"{}\" is on {}, and backend {} computes on {}", name,
         to_string(tensor.device), backend, to_string(device));
  };
  const auto check_all = [&](std::string_view name, const ExpertMatrices& matrices) {
    for (const TensorView& matrix : matrices) check(name, matrix);
  };
  check("router.weight", weights.router_weight);
  check("router_bias", weights.router_bias);
  check("e_score_correction_bias", weights.e_score_correction_bias);
  check_all("gate_up_proj", weights.gate_up_proj);
  check_all("gate_proj", weights.gate_proj);
  check_all("up_proj", weights.up_proj);
  check_all("down_proj", weights.down_proj);
  check("gate_up_bias", weights.gate_up_bias);
  check("down_bias", weights.down_bias);
  check("shared.gate_up_proj", weights.shared_gate_up_proj);
  check("shared.gate_proj", weights.shared_gate_proj);
  check("shared.up_proj", weights.shared_up_proj);
  check("shared.down_proj", weights.shared_down_proj);
  check("shared_expert_gate", weights.shared_expert_gate);
  check_all("gate_up_scale", weights.gate_up_scale);
  check_all("down_scale", weights.down_scale);
  check("gate_up_global_scale", weights.gate_up_global_scale);
  check("down_global_scale", weights.down_global_scale);
}

}  // namespace sluice
