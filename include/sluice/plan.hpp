// ExpertPlan: all that passes from routing to experts.
#pragma once

#include <cstdint>
#include <span>

namespace sluice {

// Rows are (token, slot) pairs sorted by local expert, then token, then slot: a stable order, so
// the same routing always gives the same plan. Slots whose expert is not local have no row.
// Views into the caller's workspace, in the memory where the tokens live.
struct ExpertPlan {
  std::int64_t tokens = 0;
  std::int64_t top_k = 0;
  std::span<const std::int64_t> expert_offsets;  // [local experts + 1]: rows of expert e are
                                                 // [expert_offsets[e], expert_offsets[e + 1])
  std::span<const std::int64_t> row_token;       // [rows]
  std::span<const float> row_weight;             // [rows]
  std::span<const std::int64_t> slot_row;        // [tokens, top_k] -> row, or -1 if not local

  std::int64_t rows() const { return expert_offsets.empty() ? 0 : expert_offsets.back(); }
};

}  // namespace sluice
