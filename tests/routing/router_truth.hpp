// docs/semantics.md §1 in double, as plainly as it can be said.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

#include <sluice/spec.hpp>

#include "base/float_types.hpp"

namespace sluice::test {

struct Truth {
  std::vector<std::int64_t> ids;
  std::vector<double> weights;
  // The smallest distance by which the choice was made, in units of the compared scores: below
  // fp32's rounding either choice is right.
  double margin = std::numeric_limits<double>::infinity();
};

struct RoutingCase {
  RouterSpec spec;
  std::vector<float> router_bias;
  std::vector<float> correction_bias;
};

inline double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

inline std::vector<double> score(ScoreFunc func, std::vector<double> x) {
  double sum = 0;
  const double largest = *std::max_element(x.begin(), x.end());
  for (double v : x) sum += std::exp(v - largest);
  for (double& v : x) {
    switch (func) {
      case ScoreFunc::softmax:
        v = std::exp(v - largest) / sum;
        break;
      case ScoreFunc::sigmoid:
        v = sigmoid(v);
        break;
      case ScoreFunc::sqrt_softplus:
        v = std::sqrt(v > 30 ? v : std::log1p(std::exp(v)));
        break;
      case ScoreFunc::none:
        break;
    }
  }
  return x;
}

inline std::vector<std::int64_t> best(const std::vector<double>& values, std::int64_t count,
                                      double* margin) {
  std::vector<std::int64_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  const auto value = [&](std::int64_t i) { return values[static_cast<std::size_t>(i)]; };
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return value(a) > value(b); });
  for (std::int64_t i = 0; i < count && i + 1 < static_cast<std::int64_t>(order.size()); ++i) {
    const double a = value(order[static_cast<std::size_t>(i)]);
    const double b = value(order[static_cast<std::size_t>(i + 1)]);
    // Equal values are a tie that the rule decides, exactly.
    if (a != b) *margin = std::min(*margin, (a - b) / std::max(std::abs(a), std::abs(b)));
  }
  order.resize(static_cast<std::size_t>(count));
  return order;
}

inline Truth truth(const RoutingCase& c, const std::vector<float>& given) {
  const RouterSpec& spec = c.spec;
  std::vector<double> logits(given.begin(), given.end());
  for (std::size_t e = 0; e < logits.size(); ++e) {
    if (!c.router_bias.empty()) logits[e] = given[e] + c.router_bias[e];  // one fp32 addition
    if (spec.router_logits_dtype == LogitsDType::bf16) {
      logits[e] = round_to_bf16(static_cast<float>(logits[e]));
    }
  }
  const bool before = spec.score_order == ScoreOrder::before_topk;
  const auto scores = before ? score(spec.score_func, logits) : logits;
  auto biased = scores;
  for (std::size_t e = 0; e < c.correction_bias.size(); ++e) biased[e] += c.correction_bias[e];
  auto choice = biased;
  Truth result;
  if (spec.n_group > 1) {
    const auto size = logits.size() / static_cast<std::size_t>(spec.n_group);
    std::vector<double> groups;
    for (std::size_t g = 0; g < logits.size(); g += size) {
      std::vector<double> members(biased.begin() + static_cast<long>(g),
                                  biased.begin() + static_cast<long>(g + size));
      std::sort(members.rbegin(), members.rend());
      groups.push_back(spec.group_score == GroupScore::max ? members[0] : members[0] + members[1]);
    }
    const auto kept = best(groups, spec.topk_group, &result.margin);
    for (std::size_t g = 0; g < groups.size(); ++g) {
      if (std::count(kept.begin(), kept.end(), static_cast<std::int64_t>(g)) > 0) continue;
      std::fill_n(choice.begin() + static_cast<long>(g * size), size,
                  -std::numeric_limits<double>::infinity());
    }
  }
  result.ids = best(choice, spec.top_k, &result.margin);
  std::vector<double> w;
  for (std::int64_t id : result.ids) {
    w.push_back((spec.weights_from_biased_scores ? biased : scores)[static_cast<std::size_t>(id)]);
  }
  if (!before) w = score(spec.score_func, w);
  if (spec.norm_topk_prob && (spec.top_k > 1 || spec.norm_single_expert)) {
    const double sum = std::accumulate(w.begin(), w.end(), 0.0);
    for (double& v : w) {
      v /= spec.norm_rule == NormRule::add ? sum + spec.norm_eps : std::max(sum, spec.norm_eps);
    }
  }
  for (double& v : w) v *= spec.apply_routed_scale_to_output ? 1 : spec.routed_scaling_factor;
  result.weights = w;
  return result;
}

}  // namespace sluice::test
