// Parts of the check `calls` that are about buffers: which there are, where they lie, how large.
#pragma once

#include "audit/checks/check.hpp"

namespace sluice::auditing {

// The layer is the same, and so is its truth: only `what` differs from a plain run of the case.
void judge_variant(Context& context, const PreparedPtr& prepared, const RunResult& result,
                   CompareOptions how, std::string_view what, char bug_class);

void check_routing_not_asked(Context& context, const PreparedPtr& prepared);
// topk_ids without topk_weights, and the other way round: they are optional each.
void check_halves_of_routing(Context& context, const PreparedPtr& prepared);
void check_odd_addresses(Context& context, const PreparedPtr& prepared);
// The workspace of a larger call, and outputs where a caller's rows happen to lie.
void check_roomy_buffers(Context& context, const PreparedPtr& prepared);

}  // namespace sluice::auditing
