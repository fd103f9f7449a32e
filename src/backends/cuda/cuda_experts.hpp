// Experts on a GPU: a fixed sequence of launches on the caller's stream.
#pragma once

#include <sluice/backend.hpp>

#include "backends/cuda/call.hpp"
#include "backends/cuda/one_token/one_token.hpp"
#include "backends/cuda/weights/weight_bank.hpp"

namespace sluice::cuda {

class CudaExperts final : public Experts {
 public:
  CudaExperts(const MoeSpec& spec, const MoeWeights& weights, const LoadOptions& options);

  std::size_t workspace_bytes(std::int64_t tokens) const override;
  void forward(const ForwardInput& input, const ForwardOutput& output,
               std::span<std::byte> workspace, void* stream) const override;
  std::size_t weight_bytes() const override { return bank_.bytes(); }
  bool computes_logits() const override { return bank_.router_weight != nullptr; }
  bool reads_token_count() const override { return true; }

 private:
  LoadedLayer layer() const { return {spec_, bank_, round_slots_}; }
  OneTokenSizes one_token_sizes() const;
  void forward_chunk(const ForwardInput& input, const ForwardOutput& output, const Counted& counted,
                     std::byte* memory, cudaStream_t stream) const;

  MoeSpec spec_;
  int device_;
  bool round_slots_;
  WeightBank bank_;
};

}  // namespace sluice::cuda
