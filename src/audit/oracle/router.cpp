#include "audit/oracle/router.hpp"

#include <numeric>

#include "base/float_types.hpp"

namespace sluice::auditing {
namespace {

Approx round_logit(const Approx& x) {
  const auto nearest = [](double v) -> double { return round_to_bf16(static_cast<float>(v)); };
  const double middle = nearest(x.value);
  if (x.error == 0.0) return {middle, 0.0};
  return {middle,
          std::max(nearest(x.value + x.error) - middle, middle - nearest(x.value - x.error))};
}

// Non-finite numbers carry no error: every correct computation arrives at the same one.
Approx settled(Approx x) {
  if (!std::isfinite(x.value)) x.error = 0.0;
  return x;
}

Approx group_score(GroupScore kind, std::span<const Approx> members) {
  Approx first{kNever, 0.0};
  Approx second{kNever, 0.0};
  double widest = 0.0;
  for (const Approx& member : members) {
    widest = std::max(widest, member.error);
    if (member.value > first.value) {
      second = first;
      first = member;
    } else if (member.value > second.value) {
      second = member;
    }
  }
  // Which member is best may itself be open; each order statistic moves by the widest error.
  first.error = second.error = widest;
  const Approx score = settled(kind == GroupScore::max ? first : add(first, second));
  return std::isnan(score.value) ? Approx{kNever, 0.0} : score;  // +inf and -inf
}

}  // namespace

TokenRouting::TokenRouting(const RouterSpec& router, const RouterTensorsView& tensors,
                           std::span<const float> logits)
    : router_(router) {
  for (std::size_t e = 0; e < logits.size(); ++e) {
    Approx logit{logits[e], 0.0};
    if (!tensors.router_bias.empty()) logit = add(logit, {tensors.router_bias[e], 0.0});
    if (router.router_logits_dtype == LogitsDType::bf16) logit = round_logit(logit);
    logits_.push_back(settled(logit));
  }
  score(tensors.correction_bias);
  choose();
}

void TokenRouting::score(std::span<const float> correction_bias) {
  scores_ = router_.score_order == ScoreOrder::before_topk ? score_all(router_.score_func, logits_)
                                                           : logits_;
  bias_.assign(scores_.size(), 0.0f);
  for (std::size_t e = 0; e < scores_.size(); ++e) {
    scores_[e] = settled(scores_[e]);
    if (!correction_bias.empty()) bias_[e] = correction_bias[e];
    biased_.push_back(correction_bias.empty() ? scores_[e]
                                              : settled(add(scores_[e], {bias_[e], 0.0})));
    choice_.push_back(std::isnan(biased_[e].value) ? Approx{kNever, 0.0} : biased_[e]);
  }
  if (router_.n_group == 1) return;
  const std::size_t size = choice_.size() / static_cast<std::size_t>(router_.n_group);
  for (std::size_t first = 0; first < choice_.size(); first += size) {
    group_scores_.push_back(
        group_score(router_.group_score, std::span(choice_).subspan(first, size)));
  }
}

void TokenRouting::choose() {
  const auto groups = static_cast<std::size_t>(router_.n_group);
  std::vector<double> keys;
  for (const Approx& c : choice_) keys.push_back(c.value);
  const auto rank = [](const std::vector<double>& values) {
    std::vector<std::int32_t> order(values.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
      return values[static_cast<std::size_t>(a)] > values[static_cast<std::size_t>(b)];
    });
    return order;
  };
  if (groups > 1) {
    std::vector<double> group_keys;
    for (const Approx& g : group_scores_) group_keys.push_back(g.value);
    const auto order = rank(group_keys);
    const std::size_t size = keys.size() / groups;
    for (std::size_t place = static_cast<std::size_t>(router_.topk_group); place < groups;
         ++place) {
      const auto masked =
          static_cast<std::ptrdiff_t>(static_cast<std::size_t>(order[place]) * size);
      std::fill(keys.begin() + masked, keys.begin() + masked + static_cast<std::ptrdiff_t>(size),
                kNever);
    }
  }
  ids_ = rank(keys);
  // Whether the next candidate, or any neighbour in rank, could have changed places.
  const auto top_k = static_cast<std::size_t>(router_.top_k);
  for (std::size_t place = 0; place < top_k && place + 1 < ids_.size(); ++place) {
    const bool masked = keys[static_cast<std::size_t>(ids_[place + 1])] == kNever;
    if (!masked && may_precede(ids_[place + 1], ids_[place])) ambiguous_ = true;
  }
  ambiguous_ = ambiguous_ || possible_groups().size() != 1;
  ids_.resize(top_k);
}

std::vector<Approx> TokenRouting::weights(std::span<const std::int32_t> ids) const {
  const bool from_biased = router_.weights_from_biased_scores;
  std::vector<Approx> weights;
  for (const std::int32_t id : ids) {
    const auto e = static_cast<std::size_t>(id);
    weights.push_back(from_biased ? biased_[e] : scores_[e]);
  }
  if (router_.score_order == ScoreOrder::after_topk) {
    weights = score_all(router_.score_func, weights);
  }
  const auto drop_non_finite = [&] {
    for (Approx& weight : weights) {
      if (!std::isfinite(weight.value)) weight = {};
    }
  };
  drop_non_finite();
  if (router_.norm_topk_prob && (weights.size() > 1 || router_.norm_single_expert)) {
    Approx sum;
    for (const Approx& weight : weights) sum = add(sum, weight);
    // The order of the sum is free: K roundings of the sum of magnitudes cover each of them.
    double magnitudes = 0.0;
    for (const Approx& weight : weights) magnitudes += std::fabs(weight.value);
    if (sum.error != 0.0) sum.error += static_cast<double>(weights.size()) * kUnit * magnitudes;
    if (router_.norm_rule == NormRule::add) {
      if (router_.norm_eps != 0.0) sum = add(sum, constant(router_.norm_eps));
    } else {
      const Approx eps = constant(router_.norm_eps);
      sum = {std::max(sum.value, eps.value), std::max(sum.error, eps.error)};
    }
    for (Approx& weight : weights) weight = div(weight, sum);
    drop_non_finite();
  }
  if (!router_.apply_routed_scale_to_output && router_.routed_scaling_factor != 1.0) {
    for (Approx& weight : weights) weight = mul(weight, constant(router_.routed_scaling_factor));
  }
  // fp32 holds weights: one beyond it is infinite, and so is what it multiplies.
  for (Approx& weight : weights) {
    const auto single = static_cast<float>(weight.value);
    if (std::isinf(single)) weight = {single, 0.0};
  }
  return weights;
}

}  // namespace sluice::auditing
