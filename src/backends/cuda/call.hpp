// What the launches of one call need: sizes, weights, and their places in the workspace.
#pragma once

#include <sluice/backend.hpp>

#include "backends/cuda/flow_choice.hpp"
#include "backends/cuda/params.hpp"
#include "backends/cuda/weights/weight_bank.hpp"
#include "base/workspace.hpp"

namespace sluice::cuda {

// A loaded layer, as calls see it.
struct LoadedLayer {
  const MoeSpec& spec;
  const WeightBank& bank;
  bool round_slots;

  bool has_shared() const { return bank.shared.width > 0; }
  // SwiGLU as most models have it: the kernels with wide tiles, and those of one token.
  bool plain() const;
  Flow flow(std::int64_t tokens) const;
};

struct Call {
  Flow flow = Flow::planned;
  Routing routing;
  Plan plan;
  Staging staging;
  Prefetch ahead;
  Ffn ffn;  // its plan is a copy: bind() sees to it
  Combine last;
  float* logits = nullptr;  // [tokens, E], where the router's weight was loaded
};

Call make_call(const LoadedLayer& layer, std::int64_t tokens, Workspace& workspace);

// How many tokens the whole call has, on the device or null: all; and how many came before.
struct Counted {
  const std::int32_t* tokens;
  std::int64_t first;
};

// The caller's tensors, and the logits that it may leave to the layer.
void bind(Call& call, const ForwardInput& input, const ForwardOutput& output,
          const Counted& counted);

}  // namespace sluice::cuda
