#include "backends/plugin/plugin_experts.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "backends/plugin/c_spec.hpp"
#include "backends/plugin/c_tensors.hpp"
#include "base/fail.hpp"

namespace sluice::plugin {

std::string describe_failure(const SharedObject& object, const char* call,
                             const sluice_message& message) {
  // The text is the plugin's: it may have forgotten the terminator.
  const std::size_t length = strnlen(message.text, sizeof message.text);
  const std::string text = length == 0 ? "no reason given" : std::string(message.text, length);
  return fmt::format("plugin {}: {} failed: {}", object.plugin().name, call, text);
}

PluginExperts::PluginExperts(std::shared_ptr<const SharedObject> object, const MoeSpec& spec,
                             const MoeWeights& weights, int threads)
    : object_(std::move(object)), spec_(spec) {
  const CWeights c_weights(spec, weights);
  const sluice_spec c_spec = to_c(spec_);
  sluice_message message{};
  const sluice_status status =
      object_->plugin().load(&c_spec, &c_weights.get(), threads, &layer_, &message);
  if (status != SLUICE_OK) {
    throw Error(status == SLUICE_REFUSED ? ErrorKind::unsupported : ErrorKind::internal,
                describe_failure(*object_, "load", message));
  }
  if (layer_ == nullptr) {
    fail(ErrorKind::internal, "plugin {}: load returned SLUICE_OK and left the layer null",
         object_->plugin().name);
  }
}

PluginExperts::~PluginExperts() { object_->plugin().unload(layer_); }

std::size_t PluginExperts::workspace_bytes(std::int64_t tokens) const {
  const auto ask = object_->plugin().workspace_bytes;
  if (ask == nullptr) return 0;
  // An error given as -1 would overflow where sizes are added up, to a workspace of nothing.
  constexpr std::uint64_t kMost = std::uint64_t{1} << 62;
  const std::uint64_t bytes = ask(layer_, tokens);
  if (bytes > kMost) {
    fail(ErrorKind::internal,
         "plugin {}: workspace_bytes is {} for {} tokens; it must be in [0, {}]",
         object_->plugin().name, bytes, tokens, kMost);
  }
  return bytes;
}

void PluginExperts::forward(const ForwardInput& input, const ForwardOutput& output,
                            std::span<std::byte> workspace, void*) const {
  if (input.hidden_states.shape[0] == 0) return;  // the ABI promises tokens >= 1
  const sluice_forward_input c_input{sizeof(sluice_forward_input), to_c(input.hidden_states),
                                     to_c(input.router_logits), to_c(input.topk_ids),
                                     to_c(input.topk_weights)};
  const sluice_forward_output c_output{sizeof(sluice_forward_output), to_c(output.output),
                                       to_c(output.topk_ids), to_c(output.topk_weights)};
  sluice_message message{};
  if (object_->plugin().forward(layer_, &c_input, &c_output, workspace.data(), workspace.size(),
                                &message) != SLUICE_OK) {
    throw Error(ErrorKind::internal, describe_failure(*object_, "forward", message));
  }
}

}  // namespace sluice::plugin
