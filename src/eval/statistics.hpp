// Probabilities from logits, in double.
#pragma once

#include <cstdint>
#include <span>

namespace sluice {

// log(sum(exp(logits))).
double log_sum_exp(std::span<const float> logits);
// -log softmax(logits)[id], in nats.
double negative_log_likelihood(std::span<const float> logits, std::int64_t id);
// KL(softmax(p) || softmax(q)), in nats; 0 for equal rows. NaN in, NaN out.
double kl_divergence(std::span<const float> p_logits, std::span<const float> q_logits);

}  // namespace sluice
