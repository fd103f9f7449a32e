// Building an ExpertPlan: a counting sort of (token, slot) pairs by local expert.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <sluice/plan.hpp>
#include <sluice/tensor.hpp>

#include "base/workspace.hpp"

namespace sluice {

struct PlanInput {
  std::int64_t tokens = 0;
  std::int64_t top_k = 0;
  std::span<const std::int32_t> ids;           // [tokens, K] global; -1: no such slot
  std::span<const float> weights;              // [tokens, K]
  std::span<const std::int32_t> local_expert;  // [E] global -> local or -1
  std::int64_t local_experts = 0;
};

// Takes what it needs from `workspace`; over a counting workspace only `tokens`, `top_k` and
// `local_experts` matter and the plan is empty. Serial and deterministic.
ExpertPlan build_plan(const PlanInput& input, Workspace& workspace);

// Given routing as the plan needs it. Slots whose id is out of range or repeats an earlier one of
// the token, or whose weight is not finite, become -1: callers that want an error check first.
void read_given_routing(const TensorView& topk_ids, const TensorView& topk_weights,
                        std::int64_t num_experts, std::span<std::int32_t> ids,
                        std::span<float> weights);

}  // namespace sluice
