#include "audit/diagnose/diagnose.hpp"

namespace sluice::auditing {

Stage locate_stage(const Finding& finding, const Backend& backend, const RunOptions& run,
                   const OracleOptions& bound) {
  const Stage seen = finding.comparison.stage;
  if (seen != Stage::expert || !finding.prepared || finding.comparison.token < 0) return seen;
  const Case& subject = finding.prepared->subject;
  const std::int64_t token = std::min(finding.comparison.token, subject.tokens() - 1);
  const auto ids = finding.prepared->oracle.ids(token);
  const auto top_k = static_cast<std::int64_t>(ids.size());
  for (std::int64_t slot = 0; slot < top_k; ++slot) {
    // Weight 1 for one slot, 0 for the others: what remains is one expert, and the shared part.
    Case alone = rows_of(subject, token, token + 1);
    alone.tensors.erase("router_logits");
    OwnedTensor given(DType::i32, {1, top_k});
    OwnedTensor weights(DType::f32, {1, top_k});
    for (std::int64_t i = 0; i < top_k; ++i) {
      store_unaligned(given.data(), i, ids[static_cast<std::size_t>(i)]);
      weights.set(i, i == slot ? 1.0f : 0.0f);
    }
    alone.tensors["topk_ids"] = std::move(given);
    alone.tensors["topk_weights"] = std::move(weights);
    const Oracle oracle(alone, bound);
    const Comparison comparison = compare(alone, oracle, run_case(backend, alone, run),
                                          {run.report == Report::both, 0, false});
    if (!comparison.ok()) return Stage::expert;
  }
  return Stage::combine;
}

}  // namespace sluice::auditing
