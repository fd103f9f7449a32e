// One layer loaded by a plugin.
#pragma once

#include <memory>
#include <string>

#include <sluice/backend.hpp>

#include "backends/plugin/shared_object.hpp"

namespace sluice::plugin {

// What a call left behind: status and text, as one message for an Error.
std::string describe_failure(const SharedObject& object, const char* call,
                             const sluice_message& message);

class PluginExperts final : public Experts {
 public:
  PluginExperts(std::shared_ptr<const SharedObject> object, const MoeSpec& spec,
                const MoeWeights& weights, int threads);
  ~PluginExperts() override;
  PluginExperts(const PluginExperts&) = delete;
  PluginExperts& operator=(const PluginExperts&) = delete;

  std::size_t workspace_bytes(std::int64_t tokens) const override;
  void forward(const ForwardInput& input, const ForwardOutput& output,
               std::span<std::byte> workspace, void* stream) const override;
  std::size_t weight_bytes() const override { return 0; }  // the ABI does not ask

 private:
  std::shared_ptr<const SharedObject> object_;
  MoeSpec spec_;  // the plugin's expert_map points in here
  sluice_layer* layer_ = nullptr;
};

}  // namespace sluice::plugin
