#include "routing/plan.hpp"

#include <algorithm>
#include <cmath>

#include "base/element.hpp"

namespace sluice {

ExpertPlan build_plan(const PlanInput& input, Workspace& workspace) {
  const std::int64_t slots = input.tokens * input.top_k;
  const auto offsets = workspace.take<std::int64_t>(input.local_experts + 1);
  const auto next_row = workspace.take<std::int64_t>(input.local_experts);
  const auto row_token = workspace.take<std::int64_t>(slots);
  const auto row_weight = workspace.take<float>(slots);
  const auto slot_row = workspace.take<std::int64_t>(slots);
  if (offsets.empty()) return {};

  const auto local = [&](std::size_t slot) -> std::int64_t {
    const std::int32_t id = input.ids[slot];
    return id < 0 ? -1 : input.local_expert[static_cast<std::size_t>(id)];
  };
  const auto slot_count = static_cast<std::size_t>(slots);
  std::fill(next_row.begin(), next_row.end(), 0);
  for (std::size_t slot = 0; slot < slot_count; ++slot) {
    const std::int64_t expert = local(slot);
    if (expert >= 0) ++next_row[static_cast<std::size_t>(expert)];
  }
  offsets[0] = 0;
  for (std::size_t expert = 0; expert < next_row.size(); ++expert) {
    offsets[expert + 1] = offsets[expert] + next_row[expert];
    next_row[expert] = offsets[expert];
  }
  // Slots in order of token, then slot: that order survives inside every expert's rows.
  std::size_t slot = 0;
  for (std::int64_t token = 0; token < input.tokens; ++token) {
    for (std::int64_t k = 0; k < input.top_k; ++k, ++slot) {
      const std::int64_t expert = local(slot);
      if (expert < 0) {
        slot_row[slot] = -1;
        continue;
      }
      const std::int64_t row = next_row[static_cast<std::size_t>(expert)]++;
      row_token[static_cast<std::size_t>(row)] = token;
      row_weight[static_cast<std::size_t>(row)] = input.weights[slot];
      slot_row[slot] = row;
    }
  }
  const auto rows = static_cast<std::size_t>(offsets.back());
  return {input.tokens,           input.top_k, offsets, row_token.first(rows),
          row_weight.first(rows), slot_row};
}

void read_given_routing(const TensorView& topk_ids, const TensorView& topk_weights,
                        std::int64_t num_experts, std::span<std::int32_t> ids,
                        std::span<float> weights) {
  const std::int64_t top_k = topk_ids.shape[1];
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const auto index = static_cast<std::int64_t>(i);
    const std::int64_t id = load_int(topk_ids.data, topk_ids.dtype, index);
    const float weight = load_float(topk_weights.data, topk_weights.dtype, index);
    const auto earlier = ids.subspan(i - static_cast<std::size_t>(index % top_k),
                                     static_cast<std::size_t>(index % top_k));
    const bool valid = id >= 0 && id < num_experts && std::isfinite(weight) &&
                       std::find(earlier.begin(), earlier.end(), id) == earlier.end();
    ids[i] = valid ? static_cast<std::int32_t>(id) : -1;
    weights[i] = valid ? weight : 0.0f;
  }
}

}  // namespace sluice
