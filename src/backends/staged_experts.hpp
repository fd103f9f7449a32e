// Experts of a device backend, for callers whose tensors are in host memory.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <sluice/backend.hpp>

#include "backends/device_buffer.hpp"
#include "base/aligned_buffer.hpp"

namespace sluice {

// Loads for host tensors, whatever the backend: a host backend's own experts, or StagedExperts.
std::unique_ptr<Experts> load_for_host(const Backend& backend, const MoeSpec& spec,
                                       const MoeWeights& weights, const LoadOptions& options);

// Copies tokens in, runs, copies results out, and waits for them. Staging memory is kept: a call
// that is no larger than an earlier one does not allocate. Several callers get a block each.
class StagedExperts final : public Experts {
 public:
  StagedExperts(std::shared_ptr<const Experts> inner, std::string backend, Device device,
                std::shared_ptr<const DeviceMemory> memory);

  std::size_t workspace_bytes(std::int64_t tokens) const override {
    return inner_->workspace_bytes(tokens);
  }
  std::size_t weight_bytes() const override { return inner_->weight_bytes(); }
  bool computes_logits() const override { return inner_->computes_logits(); }

  // `workspace` without an address: the device's own is used, as the last call left it. With one,
  // it stands for the device's: its contents, and the output's, are there before the call, and what
  // the call made of it comes back. Then every buffer has fences on the device, and Error(internal)
  // names the one beside which the backend wrote, or the input that it changed.
  void forward(const ForwardInput& input, const ForwardOutput& output,
               std::span<std::byte> workspace, void* stream) const override;

 private:
  struct Block {
    DeviceBuffer device;
    AlignedBuffer image;  // of the device's memory, for fenced calls
  };
  class Layout;
  class Lease;

  void run_fenced(const Layout& layout, Block& block, void* stream) const;

  std::shared_ptr<const Experts> inner_;
  std::string backend_;
  Device device_;
  std::shared_ptr<const DeviceMemory> memory_;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Block>> idle_;
};

}  // namespace sluice
