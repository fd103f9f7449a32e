// A peer: somebody else's way to compute the same experts, timed in the same run.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include <sluice/executor.hpp>
#include <sluice/plan.hpp>

#include "shapes.hpp"

namespace sluice::bench {

class Peer {
 public:
  virtual ~Peer() = default;
  virtual std::string name() const = 0;
  // The routed experts of one layer: hidden [tokens, H] bf16 -> output [tokens, H] bf16. Routing
  // and the plan are given and not timed.
  // Makes what `forward` of this plan will need and keeps: not timed.
  virtual void prepare(const ExpertPlan& plan) = 0;
  virtual void forward(const std::uint16_t* hidden, const ExpertPlan& plan,
                       std::uint16_t* output) = 0;
};

// One oneDNN matmul per hit expert and product, weights packed ahead in the layout it asks for.
// Every expert gets the weights of `expert` ([2I, H] and [H, I] bf16), each its own copy. Null
// when this build has no oneDNN.
std::unique_ptr<Peer> make_onednn_peer(const Shape& shape, std::span<const std::uint16_t> gate_up,
                                       std::span<const std::uint16_t> down, int threads,
                                       Executor& executor, std::int64_t most_tokens);

}  // namespace sluice::bench
