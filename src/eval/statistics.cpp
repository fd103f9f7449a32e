#include "eval/statistics.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <sluice/eval.hpp>

namespace sluice {
namespace {

constexpr double kZ95 = 1.959963984540054;  // 97.5 % quantile of the normal distribution

struct Wilson {
  double centre;
  double half_width;
};

Wilson wilson(const Proportion& proportion) {
  const auto n = static_cast<double>(proportion.trials);
  const double p = proportion.value();
  const double z2 = kZ95 * kZ95;
  return {(p + z2 / (2 * n)) / (1 + z2 / n),
          kZ95 / (1 + z2 / n) * std::sqrt(p * (1 - p) / n + z2 / (4 * n * n))};
}

}  // namespace

double Proportion::value() const {
  if (trials == 0) return std::numeric_limits<double>::quiet_NaN();
  return static_cast<double>(hits) / static_cast<double>(trials);
}

double Proportion::low() const {
  if (hits == 0 && trials > 0) return 0.0;  // rounding must not leave a residue below
  const Wilson interval = wilson(*this);
  return interval.centre - interval.half_width;
}

double Proportion::high() const {
  if (hits == trials && trials > 0) return 1.0;
  const Wilson interval = wilson(*this);
  return interval.centre + interval.half_width;
}

double log_sum_exp(std::span<const float> logits) {
  const double top = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0;
  for (float logit : logits) sum += std::exp(logit - top);
  return top + std::log(sum);
}

double negative_log_likelihood(std::span<const float> logits, std::int64_t id) {
  return log_sum_exp(logits) - logits[static_cast<std::size_t>(id)];
}

double kl_divergence(std::span<const float> p_logits, std::span<const float> q_logits) {
  const double p_total = log_sum_exp(p_logits);
  const double q_total = log_sum_exp(q_logits);
  double sum = 0.0;
  for (std::size_t i = 0; i < p_logits.size(); ++i) {
    const double log_p = p_logits[i] - p_total;
    const double p = std::exp(log_p);
    if (p == 0.0) continue;  // also where p's logit is -inf
    sum += p * (log_p - (q_logits[i] - q_total));
  }
  return sum;
}

}  // namespace sluice
