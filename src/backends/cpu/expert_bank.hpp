// A rank's experts, packed: what the kernels read, and nothing of the checkpoint's layouts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <sluice/executor.hpp>
#include <sluice/spec.hpp>
#include <sluice/weights.hpp>

#include "base/aligned_buffer.hpp"
#include "kernels/packed_matrix.hpp"

namespace sluice {

// One feed-forward block: a routed expert, or all shared experts together.
struct ExpertBlock {
  PackedView gate_up;                   // gated: gate and up alternate by panels; cols = H
  PackedView down;                      // rows = H, cols = width
  const float* gate_up_bias = nullptr;  // in the order of the packed rows, or null
  const float* down_bias = nullptr;     // [H] or null; tp_rank 0 only
  std::int64_t width = 0;               // I of this rank, or the shared block's
};

class ExpertBank {
 public:
  // Packs every matrix into one buffer. Pages are first touched by the worker that packs them,
  // which spreads them over the NUMA nodes of the executor's threads.
  ExpertBank(const MoeSpec& spec, const MoeWeights& weights, Executor& executor);

  // Local experts in local order, then the shared block if there is one.
  const std::vector<ExpertBlock>& blocks() const { return blocks_; }
  bool has_shared() const { return has_shared_; }
  std::size_t bytes() const { return matrices_.size() + biases_.size() * sizeof(float); }

 private:
  AlignedBuffer matrices_;
  std::vector<float> biases_;
  std::vector<ExpertBlock> blocks_;
  bool has_shared_ = false;
};

// bf16, f16 or f32; Error(internal) for formats that supports() refuses.
PackedFormat packed_format(WeightFormat format);

}  // namespace sluice
