// Experts on a GPU: a fixed sequence of launches on the caller's stream.
#pragma once

#include <sluice/backend.hpp>

#include "backends/cuda/flow_choice.hpp"
#include "backends/cuda/one_token.hpp"
#include "backends/cuda/params.hpp"
#include "backends/cuda/tile_choice.hpp"
#include "backends/cuda/weight_bank.hpp"
#include "base/workspace.hpp"

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
  struct Call;
  // How many tokens the whole call has, on the device or null: all; and how many came before.
  struct Counted {
    const std::int32_t* tokens;
    std::int64_t first;
  };
  // Everything that the launches of one chunk of tokens need, cut from `workspace`.
  Call prepare(std::int64_t tokens, Workspace& workspace) const;
  void forward_chunk(const ForwardInput& input, const ForwardOutput& output, const Counted& counted,
                     std::byte* memory, cudaStream_t stream) const;
  // SwiGLU as most models have it: the kernel with wide tiles.
  bool plain() const;
  OneTokenSizes one_token_sizes() const;
  Flow flow(std::int64_t tokens) const;

  MoeSpec spec_;
  int device_;
  bool round_slots_;
  WeightBank bank_;
};

}  // namespace sluice::cuda
