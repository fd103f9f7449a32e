#include "audit/faults/router_model.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/float_types.hpp"

namespace sluice::auditing {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

double sigmoid(double x, const RouterFaults& faults) {
  if (faults.tanh_sigmoid) {
    return 0.5f * (1.0f + static_cast<float>(std::tanh(0.5f * static_cast<float>(x))));
  }
  return 1.0 / (1.0 + std::exp(-x));
}

std::vector<double> scores_of(ScoreFunc func, const std::vector<double>& logits,
                              const RouterFaults& faults) {
  std::vector<double> scores = logits;
  if (func == ScoreFunc::sigmoid) {
    for (double& x : scores) x = sigmoid(x, faults);
  } else if (func == ScoreFunc::sqrt_softplus) {
    for (double& x : scores) {
      x = std::sqrt(std::max(x, 0.0) + std::log1p(std::exp(-std::fabs(x))));
    }
  } else if (func == ScoreFunc::softmax) {
    double top = kNever;
    for (double x : scores) top = std::fmax(top, x);
    double sum = 0.0;
    if (faults.softmax_overflows) {
      for (double& x : scores) x = std::exp(static_cast<float>(x));
      for (const double x : scores) sum += x;
    } else {
      for (double& x : scores) sum += x = std::exp(x - top);
    }
    for (double& x : scores) x /= sum;
  }
  return scores;
}

struct Order {
  const std::vector<double>& values;
  bool higher_id;
  bool operator()(std::int32_t a, std::int32_t b) const {
    const double va = values[static_cast<std::size_t>(a)];
    const double vb = values[static_cast<std::size_t>(b)];
    if (va != vb) return va > vb;
    return higher_id ? a > b : a < b;
  }
};

std::vector<std::int32_t> ranked(const std::vector<double>& values, bool higher_id) {
  std::vector<std::int32_t> ids(values.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::stable_sort(ids.begin(), ids.end(), Order{values, higher_id});
  return ids;
}

void mask_groups(const RouterSpec& router, const std::vector<double>& unbiased,
                 std::vector<double>& choice, const RouterFaults& faults) {
  const auto groups = static_cast<std::size_t>(router.n_group);
  const std::size_t size = choice.size() / groups;
  std::vector<double> group_scores(groups);
  for (std::size_t g = 0; g < groups; ++g) {
    const auto& from = faults.group_score_without_bias ? unbiased : choice;
    std::vector<double> members(from.begin() + static_cast<std::ptrdiff_t>(g * size),
                                from.begin() + static_cast<std::ptrdiff_t>((g + 1) * size));
    std::sort(members.begin(), members.end(), std::greater<>());
    const bool top1 = router.group_score == GroupScore::max || faults.group_score_top1_for_top2;
    group_scores[g] = top1 || size < 2 ? members[0] : members[0] + members[1];
  }
  auto kept = ranked(group_scores, faults.tie_higher_id);
  std::int64_t count = router.topk_group + (faults.off_by_one_group ? 1 : 0);
  kept.resize(static_cast<std::size_t>(std::min(count, router.n_group)));
  for (std::size_t i = 0; i < choice.size(); ++i) {
    const auto group = static_cast<std::int32_t>(i / size);
    if (std::find(kept.begin(), kept.end(), group) != kept.end()) continue;
    choice[i] = faults.group_mask_zero ? 0.0 : kNever;
  }
}

double bf16(double x) { return round_to_bf16(static_cast<float>(x)); }

void normalise(const MoeSpec& spec, const std::vector<double>& scores, const Routing& routing,
               std::vector<double>& weights, const RouterFaults& faults) {
  const RouterSpec& router = spec.router;
  double sum = 0.0;
  for (std::size_t slot = 0; slot < weights.size(); ++slot) {
    if (faults.normalise_local_only && local_expert(spec, routing.ids[slot]) < 0) continue;
    sum += weights[slot];
    if (faults.sum_in_bf16) sum = bf16(sum);
  }
  if (faults.normalise_over_all) sum = std::accumulate(scores.begin(), scores.end(), 0.0);
  const double divisor =
      router.norm_rule == NormRule::add ? sum + router.norm_eps : std::max(sum, router.norm_eps);
  for (double& weight : weights) {
    weight /= divisor;
    if (!std::isfinite(weight)) weight = 0.0;
  }
}

bool has_nan(const std::vector<double>& values) {
  return std::any_of(values.begin(), values.end(), [](double x) { return std::isnan(x); });
}

void choose(const RouterSpec& router, const std::vector<double>& choice, const RouterFaults& faults,
            Routing& routing) {
  auto ids = ranked(choice, faults.tie_higher_id);
  const auto top_k = static_cast<std::size_t>(router.top_k);
  const std::size_t skip =
      std::min(static_cast<std::size_t>(faults.extra_slots), ids.size() - top_k);
  routing.ids.assign(ids.begin() + static_cast<std::ptrdiff_t>(skip),
                     ids.begin() + static_cast<std::ptrdiff_t>(skip + top_k));
}

std::vector<double> weigh(const MoeSpec& spec, const RouterData& data,
                          const std::vector<double>& logits, const std::vector<double>& scores,
                          const std::vector<double>& biased, const Routing& routing,
                          const RouterFaults& faults) {
  const RouterSpec& router = spec.router;
  std::vector<double> weights;
  for (std::int32_t id : routing.ids) {
    const auto i = static_cast<std::size_t>(id);
    double weight =
        router.weights_from_biased_scores || faults.bias_in_weights ? biased[i] : scores[i];
    if (faults.score_by_subtraction && !data.correction_bias.empty()) {
      const float sum = static_cast<float>(scores[i]) + data.correction_bias[i];
      weight = sum - data.correction_bias[i];
    }
    if (faults.raw_logits_as_weights && !router.norm_topk_prob) weight = logits[i];
    weights.push_back(weight);
  }
  if (router.score_order == ScoreOrder::after_topk) {
    weights = scores_of(router.score_func, weights, faults);
  }
  if (!faults.nan_weights_kept) {
    for (double& weight : weights) {
      if (!std::isfinite(weight)) weight = 0.0;
    }
  }
  return weights;
}

}  // namespace

Routing route(const MoeSpec& spec, const RouterData& data, std::span<const float> given,
              const RouterFaults& faults) {
  const RouterSpec& router = spec.router;
  std::vector<double> logits(given.begin(), given.end());
  for (std::size_t i = 0; i < data.router_bias.size(); ++i) logits[i] += data.router_bias[i];
  if (router.router_logits_dtype == LogitsDType::bf16 || faults.bf16_logits) {
    for (double& x : logits) x = bf16(x);
  }
  const bool before = router.score_order == ScoreOrder::before_topk;
  const std::vector<double> scores = before ? scores_of(router.score_func, logits, faults) : logits;
  std::vector<double> biased = scores;
  for (std::size_t i = 0; i < data.correction_bias.size(); ++i) {
    biased[i] += faults.bf16_bias ? bf16(data.correction_bias[i]) : data.correction_bias[i];
  }
  std::vector<double> choice = biased;
  const bool row_has_nan = has_nan(choice);
  for (std::size_t i = 0; i < choice.size(); ++i) {
    if (std::isnan(choice[i])) choice[i] = faults.nan_wins ? -kNever : kNever;
    if (faults.no_negative_scores) choice[i] = std::max(choice[i], 0.0);
    choice[i] += faults.tie_epsilon * static_cast<double>(i);
  }
  if (router.n_group > 1) mask_groups(router, scores, choice, faults);

  Routing routing;
  choose(router, choice, faults, routing);
  if (row_has_nan && faults.nan_repeats_expert) {
    std::fill(routing.ids.begin(), routing.ids.end(), routing.ids.front());
  }
  std::vector<double> weights = weigh(spec, data, logits, scores, biased, routing, faults);
  const double factor = router.apply_routed_scale_to_output ? 1.0 : router.routed_scaling_factor;
  const bool normalises = (router.norm_topk_prob || faults.normalise_always) &&
                          (router.top_k > 1 || router.norm_single_expert);
  if (faults.normalise_after_scale) {
    for (double& weight : weights) weight *= factor;
  }
  if (normalises) normalise(spec, scores, routing, weights, faults);
  if (normalises && faults.normalise_twice) normalise(spec, scores, routing, weights, faults);
  if (!faults.normalise_after_scale || !normalises) {
    for (double& weight : weights) weight *= factor;
  }
  if (faults.swap_first_two && weights.size() > 1) std::swap(weights[0], weights[1]);
  for (double& weight : weights) {
    if (faults.ones) weight = 1.0;
    weight *= faults.scale_weights;
    if (faults.square_weights_on_input && router.apply_router_weight_on_input) weight *= weight;
    if (faults.bf16_weights) weight = bf16(weight);
    routing.weights.push_back(static_cast<float>(weight));
  }
  if (faults.slots_by_id) std::sort(routing.ids.begin(), routing.ids.end());
  return routing;
}

}  // namespace sluice::auditing
