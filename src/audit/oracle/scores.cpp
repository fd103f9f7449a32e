#include "audit/oracle/activation.hpp"
#include "audit/oracle/router.hpp"

namespace sluice::auditing {
namespace {

// exp(x - max) / sum. The difference is rounded, exp adds its own, the sum E roundings.
std::vector<Approx> softmax(std::span<const Approx> logits) {
  Approx largest{-std::numeric_limits<double>::infinity(), 0.0};
  for (const Approx& x : logits) {
    if (std::isnan(x.value)) continue;
    if (x.value > largest.value) largest = x;
  }
  std::vector<Approx> scores;
  Approx sum;
  for (const Approx& x : logits) {
    const double distance = x.value - largest.value;
    const double argument = x.error + largest.error + rounding_of(distance);
    const double value = std::exp(distance);
    if (!std::isfinite(distance)) {  // NaN, or a certain zero
      scores.push_back({value, 0.0});
      sum.value += value;
      continue;
    }
    const double relative = std::expm1(argument) + (kElementary + std::fabs(distance)) * kUnit;
    scores.push_back({value, distance == 0.0 ? 0.0 : relative * value + kSmallest});
    sum.value += value;
    sum.error += scores.back().error;
  }
  sum.error += static_cast<double>(logits.size()) * kUnit * sum.value;
  for (Approx& score : scores) score = div(score, sum);
  return scores;
}

// sqrt(log1p(exp(x))): the relative error of log1p(exp(x)) is that of its argument or less.
Approx sqrt_softplus(const Approx& x) {
  const double inner = std::max(x.value, 0.0) + std::log1p(std::exp(-std::fabs(x.value)));
  if (!std::isfinite(x.value)) return {std::sqrt(inner), 0.0};
  const double slope = 1.0 / (1.0 + std::exp(-x.value));
  // exp(x) may be flushed to zero, and the root makes much of little: no derivative there.
  const double error = slope * std::exp(std::min(x.error, 1.0)) * x.error +
                       (2.0 * kElementary + std::fabs(x.value)) * kUnit * inner + kSmallest;
  const double value = std::sqrt(inner);
  const double above = std::sqrt(inner + error) - value;
  const double below = value - std::sqrt(std::max(inner - error, 0.0));
  return {value, std::max(above, below) + 2.0 * kUnit * value + kSmallest};
}

}  // namespace

std::vector<Approx> score_all(ScoreFunc function, std::span<const Approx> logits) {
  if (function == ScoreFunc::softmax) return softmax(logits);
  std::vector<Approx> scores;
  for (const Approx& x : logits) {
    if (function == ScoreFunc::none || std::isnan(x.value)) {
      scores.push_back(x);
    } else if (function == ScoreFunc::sigmoid) {
      scores.push_back(sigmoid(x));
    } else {
      scores.push_back(sqrt_softplus(x));
    }
  }
  return scores;
}

}  // namespace sluice::auditing
