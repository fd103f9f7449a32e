#include "audit/cases/draw_routing.hpp"

#include <cmath>
#include <numeric>

#include "audit/cases/draw_tensors.hpp"

namespace sluice::auditing {

void draw_logits(Case& subject, DType dtype, Draw& draw, LogitOf logit) {
  const std::int64_t experts = subject.spec.router.num_experts;
  OwnedTensor logits(dtype, {subject.tokens(), experts});
  for (std::int64_t i = 0; i < logits.elements(); ++i) {
    logits.set(i, static_cast<float>(logit(draw, i / experts, i % experts, experts)));
  }
  subject.tensors["router_logits"] = std::move(logits);
}

double ordinary_logit(Draw& draw, std::int64_t, std::int64_t, std::int64_t) {
  return 1.6 * normal(draw);
}

void draw_bias(Case& subject, const char* name, Draw& draw, double low, double high) {
  const auto found = subject.tensors.find(name);
  if (found == subject.tensors.end()) return;
  for (std::int64_t i = 0; i < found->second.elements(); ++i) {
    found->second.set(i, static_cast<float>(draw.real(low, high)));
  }
}

void draw_given_routing(Case& subject, DType ids_dtype, DType weights_dtype, bool exact,
                        Draw& draw) {
  const std::int64_t tokens = subject.tokens();
  const std::int64_t top_k = subject.spec.router.top_k;
  std::vector<std::int32_t> order(static_cast<std::size_t>(subject.spec.router.num_experts));
  std::iota(order.begin(), order.end(), 0);
  OwnedTensor ids(ids_dtype, {tokens, top_k});
  OwnedTensor weights(weights_dtype, {tokens, top_k});
  for (std::int64_t token = 0; token < tokens; ++token) {
    for (std::int64_t slot = 0; slot < top_k; ++slot) {
      const auto at = static_cast<std::size_t>(slot);
      const auto other =
          static_cast<std::size_t>(draw.integer(slot, static_cast<std::int64_t>(order.size()) - 1));
      std::swap(order[at], order[other]);
      const std::int64_t index = token * top_k + slot;
      if (ids_dtype == DType::i64) {
        store_unaligned(ids.data(), index, static_cast<std::int64_t>(order[at]));
      } else {
        store_unaligned(ids.data(), index, order[at]);
      }
      // Whoever gives weights may give negative ones.
      const float sign = draw.integer(0, 7) == 0 ? -1.0f : 1.0f;
      weights.set(index, sign * (exact ? std::ldexp(1.0f, static_cast<int>(draw.integer(-1, 1)))
                                       : static_cast<float>(draw.real(0.05, 1.4))));
    }
  }
  subject.tensors["topk_ids"] = std::move(ids);
  subject.tensors["topk_weights"] = std::move(weights);
}

}  // namespace sluice::auditing
