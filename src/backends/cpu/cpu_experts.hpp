// Experts on the CPU: routing, then one pass over the schedule.
#pragma once

#include <memory>
#include <vector>

#include <sluice/backend.hpp>

#include "backends/cpu/expert_bank.hpp"
#include "backends/cpu/kernel_choice.hpp"
#include "backends/cpu/pass.hpp"
#include "base/workspace.hpp"
#include "routing/router.hpp"

namespace sluice {

class CpuExperts final : public Experts {
 public:
  CpuExperts(const MoeSpec& spec, const MoeWeights& weights, const Isa& isa,
             std::shared_ptr<Executor> executor);

  std::size_t workspace_bytes(std::int64_t tokens) const override;
  void forward(const ForwardInput& input, const ForwardOutput& output,
               std::span<std::byte> workspace, void* stream) const override;
  std::size_t weight_bytes() const override;

 private:
  struct Routing;
  Routing take_routing(std::int64_t tokens, Workspace& workspace) const;
  PassBuffers take_buffers(std::int64_t tokens, Workspace& workspace) const;
  // Whether so many rows go through Stage::whole.
  bool goes_whole(std::int64_t slots) const;
  PassLayout layout(std::int64_t tokens) const;
  // Tokens of one pass: bounds the workspace, longer inputs go through in pieces.
  std::int64_t chunk_tokens(std::int64_t tokens) const;
  void forward_chunk(const ForwardInput& input, const ForwardOutput& output,
                     std::byte* memory) const;
  void route(const ForwardInput& input, const Routing& routing) const;
  ExpertPlan plan(const Routing& routing, std::int64_t tokens, Workspace& workspace) const;

  MoeSpec spec_;
  CpuKernel kernel_;
  std::shared_ptr<Executor> executor_;
  Router router_;
  ExpertBank bank_;
  std::vector<std::int32_t> local_expert_;  // [E] global -> local or -1
  std::vector<float> shared_gate_;          // [H] or empty
};

}  // namespace sluice
