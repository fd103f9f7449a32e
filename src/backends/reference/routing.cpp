#include "backends/reference/routing.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/float_types.hpp"

namespace sluice::reference {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }

void score(ScoreFunc score_func, std::span<const double> logits, std::span<double> scores) {
  switch (score_func) {
    case ScoreFunc::softmax: {
      // std::max_element would compare with NaN; fmax skips it and the sum still carries it.
      double largest = kNever;
      for (double x : logits) largest = std::fmax(largest, x);
      double sum = 0.0;
      for (std::size_t i = 0; i < logits.size(); ++i) {
        scores[i] = std::exp(logits[i] - largest);
        sum += scores[i];
      }
      for (double& s : scores) s /= sum;
      return;
    }
    case ScoreFunc::sigmoid:
      std::transform(logits.begin(), logits.end(), scores.begin(),
                     [](double x) { return 1.0 / (1.0 + std::exp(-x)); });
      return;
    case ScoreFunc::sqrt_softplus:
      std::transform(logits.begin(), logits.end(), scores.begin(),
                     [](double x) { return std::sqrt(softplus(x)); });
      return;
    case ScoreFunc::none:
      std::copy(logits.begin(), logits.end(), scores.begin());
      return;
  }
}

// Higher first, then lower id; `order` receives the ids of the `count` best of `values`.
void best(std::span<const double> values, std::int64_t count, std::span<std::int64_t> order) {
  std::iota(order.begin(), order.end(), std::int64_t{0});
  std::partial_sort(order.begin(), order.begin() + count, order.end(),
                    [&](std::int64_t a, std::int64_t b) {
                      const double va = values[static_cast<std::size_t>(a)];
                      const double vb = values[static_cast<std::size_t>(b)];
                      return va != vb ? va > vb : a < b;
                    });
}

double score_group(GroupScore group_score, std::span<const double> members) {
  double first = kNever;
  double second = kNever;
  for (double value : members) {
    if (value > first) {
      second = first;
      first = value;
    } else {
      second = std::max(second, value);
    }
  }
  const double score = group_score == GroupScore::max ? first : first + second;
  return std::isnan(score) ? kNever : score;  // +inf and -inf
}

// Experts outside the topk_group best groups can never be chosen, not even by a positive zero.
void mask_groups(const RouterSpec& router, const RoutingScratch& scratch) {
  const auto groups = static_cast<std::size_t>(router.n_group);
  const std::size_t size = scratch.choice.size() / groups;
  for (std::size_t group = 0; group < groups; ++group) {
    scratch.group_scores[group] =
        score_group(router.group_score, scratch.choice.subspan(group * size, size));
  }
  best(scratch.group_scores, router.topk_group, scratch.order.first(groups));
  const auto kept = scratch.order.first(static_cast<std::size_t>(router.topk_group));
  for (std::size_t group = 0; group < groups; ++group) {
    if (std::find(kept.begin(), kept.end(), static_cast<std::int64_t>(group)) != kept.end())
      continue;
    std::ranges::fill(scratch.choice.subspan(group * size, size), kNever);
  }
}

// A chosen score that is not finite weighs nothing and takes no part in the sum.
void drop_non_finite(std::span<double> weights) {
  for (double& weight : weights) {
    if (!std::isfinite(weight)) weight = 0.0;
  }
}

// fp32 holds weights: one beyond it is infinite, in the output as in what is reported.
double held(double weight) {
  const auto single = static_cast<float>(weight);
  return std::isinf(single) ? single : weight;
}

void normalise(const RouterSpec& router, std::span<double> weights) {
  if (!router.norm_topk_prob || (weights.size() == 1 && !router.norm_single_expert)) return;
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  const double divisor =
      router.norm_rule == NormRule::add ? sum + router.norm_eps : std::max(sum, router.norm_eps);
  for (double& weight : weights) weight /= divisor;
  drop_non_finite(weights);  // a zero sum without epsilon
}

}  // namespace

void route_token(const RouterSpec& router, const RouterTensors& tensors, std::span<double> logits,
                 const RoutingScratch& scratch, std::span<std::int64_t> ids,
                 std::span<double> weights) {
  const bool before = router.score_order == ScoreOrder::before_topk;
  for (std::size_t i = 0; i < tensors.router_bias.size(); ++i) logits[i] += tensors.router_bias[i];
  if (router.router_logits_dtype == LogitsDType::bf16) {
    for (double& x : logits) x = round_to_bf16(static_cast<float>(x));
  }

  if (before) {
    score(router.score_func, logits, scratch.scores);
  } else {
    std::ranges::copy(logits, scratch.scores.begin());
  }
  std::ranges::copy(scratch.scores, scratch.choice.begin());
  for (std::size_t i = 0; i < tensors.e_score_correction_bias.size(); ++i) {
    scratch.choice[i] += tensors.e_score_correction_bias[i];
  }
  if (router.weights_from_biased_scores) std::ranges::copy(scratch.choice, scratch.scores.begin());
  for (double& value : scratch.choice) {
    if (std::isnan(value)) value = kNever;
  }
  if (router.n_group > 1) mask_groups(router, scratch);

  best(scratch.choice, router.top_k, scratch.order);
  for (std::size_t slot = 0; slot < ids.size(); ++slot) {
    ids[slot] = scratch.order[slot];
    weights[slot] = scratch.scores[static_cast<std::size_t>(ids[slot])];
  }
  if (!before) {
    const std::span<double> chosen = scratch.scores.first(ids.size());
    std::ranges::copy(weights, chosen.begin());
    score(router.score_func, chosen, weights);
  }
  drop_non_finite(weights);
  normalise(router, weights);
  const double factor = router.apply_routed_scale_to_output ? 1.0 : router.routed_scaling_factor;
  for (double& weight : weights) weight = held(weight * factor);
}

}  // namespace sluice::reference
