// Router logits on the host: hidden states times the router's weight, in fp32.
#pragma once

#include <cstdint>
#include <memory>

#include <sluice/executor.hpp>
#include <sluice/tensor.hpp>

#include "base/aligned_buffer.hpp"

namespace sluice {

// Every logit is one dot product in a fixed order: its bits depend neither on the number of
// threads nor on the other tokens.
class RouterLinear {
 public:
  // Copies `weight` [E, H] (f32, bf16 or f16), widened to fp32.
  RouterLinear(const TensorView& weight, std::shared_ptr<Executor> executor);
  // hidden [tokens, H] f32|bf16|f16 -> logits [tokens, E] f32. Does not allocate; one caller at a
  // time.
  void forward(const TensorView& hidden, float* logits);
  std::size_t weight_bytes() const { return weight_.size(); }

 private:
  void forward_tile(const TensorView& hidden, std::int64_t first_token, std::int64_t first_expert,
                    float* rows, float* logits) const;

  std::int64_t experts_;
  std::int64_t hidden_size_;
  std::int64_t width_;    // hidden_size_ rounded up to whole vectors; the rest is zero
  AlignedBuffer weight_;  // [E, width] f32
  AlignedBuffer rows_;    // [workers, kTokenTile, width] f32
  std::shared_ptr<Executor> executor_;
};

}  // namespace sluice
