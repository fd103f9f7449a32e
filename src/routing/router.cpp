#include "routing/router.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/element.hpp"
#include "base/fail.hpp"
#include "base/workspace.hpp"
#include "routing/scores.hpp"
#include "routing/top_k.hpp"

namespace sluice {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();
constexpr float kLowest = std::numeric_limits<float>::lowest();

std::vector<float> to_floats(const TensorView& tensor) {
  std::vector<float> values;
  if (tensor.empty()) return values;
  values.resize(static_cast<std::size_t>(tensor.shape.elements()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = load_float(tensor.data, tensor.dtype, static_cast<std::int64_t>(i));
  }
  return values;
}

float sum_of_top2(std::span<const float> scores) {
  std::uint64_t best[2] = {};
  const std::span kept(best, std::min<std::size_t>(2, scores.size()));
  choose_top(scores, kept);
  float sum = 0.0f;
  for (const std::uint64_t key : kept) {
    const float score = scores[static_cast<std::size_t>(index_of_key(key))];
    sum += std::isnan(score) ? kNever : score;
  }
  return sum;
}

float best_of(std::span<const float> scores) {
  std::uint64_t best[1] = {};
  choose_top(scores, best);
  return scores[static_cast<std::size_t>(index_of_key(best[0]))];
}

void normalise(const RouterSpec& spec, std::span<double> weights) {
  if (!spec.norm_topk_prob || (weights.size() == 1 && !spec.norm_single_expert)) return;
  double sum = 0.0;
  for (const double weight : weights) sum += weight;
  const double divisor =
      spec.norm_rule == NormRule::add ? sum + spec.norm_eps : std::max(sum, spec.norm_eps);
  for (double& weight : weights) {
    weight /= divisor;
    if (!std::isfinite(weight)) weight = 0.0;  // a zero sum without epsilon
  }
}

}  // namespace

struct Router::Scratch {
  std::span<float> logits;  // [E] as the choice sees them
  std::span<float> scores;  // [E] what is chosen by, before groups are masked
  std::span<float> groups;  // [n_group]
  std::span<std::uint64_t> best;
  SoftmaxRow softmax;
  std::size_t bytes = 0;
};

Router::Router(const RouterSpec& spec, const TensorView& router_bias,
               const TensorView& e_score_correction_bias)
    : spec_(spec),
      router_bias_(to_floats(router_bias)),
      correction_bias_(to_floats(e_score_correction_bias)) {
  if (spec.num_experts > kMaxExperts) {
    fail(ErrorKind::unsupported, "router.num_experts is {}; host routing takes at most {}",
         spec.num_experts, kMaxExperts);
  }
  if (spec.top_k > kMaxTopK) {
    fail(ErrorKind::unsupported, "router.top_k is {}; host routing takes at most {}", spec.top_k,
         kMaxTopK);
  }
}

Router::Scratch Router::scratch(std::byte* memory) const {
  Workspace workspace(memory);
  Scratch scratch;
  scratch.logits = workspace.take<float>(spec_.num_experts);
  scratch.scores = workspace.take<float>(spec_.num_experts);
  scratch.groups = workspace.take<float>(spec_.n_group);
  scratch.best = workspace.take<std::uint64_t>(std::max(spec_.top_k, spec_.topk_group));
  scratch.bytes = workspace.used();
  return scratch;
}

std::size_t Router::workspace_bytes() const { return scratch(nullptr).bytes; }

void Router::route(const RouteJob& job) const {
  Scratch row = scratch(job.workspace.data());
  const auto top_k = static_cast<std::size_t>(spec_.top_k);
  const auto best = row.best.first(top_k);
  for (std::int64_t token = job.first; token < job.last; ++token) {
    const auto begin = static_cast<std::size_t>(token) * top_k;
    const auto ids = job.ids.subspan(begin, top_k);
    load_logits(job, token, row);
    const bool before = spec_.score_order == ScoreOrder::before_topk;
    if (before && spec_.score_func == ScoreFunc::softmax) {
      row.softmax = softmax_row(row.logits, row.scores);
    }
    prepare_choice(row);
    if (spec_.n_group > 1) mask_groups(row);
    choose_top(row.scores, best);
    for (std::size_t slot = 0; slot < top_k; ++slot) ids[slot] = index_of_key(best[slot]);
    weigh(row, ids, job.weights.subspan(begin, top_k));
  }
}

void Router::load_logits(const RouteJob& job, std::int64_t token, const Scratch& scratch) const {
  const auto logits = scratch.logits;
  const std::int64_t first = token * spec_.num_experts;
  if (job.logits.dtype == DType::f32) {
    std::memcpy(logits.data(), static_cast<const float*>(job.logits.data) + first,
                logits.size_bytes());
  } else {
    for (std::size_t i = 0; i < logits.size(); ++i) {
      logits[i] =
          load_float(job.logits.data, job.logits.dtype, first + static_cast<std::int64_t>(i));
    }
  }
  for (std::size_t i = 0; i < router_bias_.size(); ++i) logits[i] += router_bias_[i];
  if (spec_.router_logits_dtype == LogitsDType::bf16) {
    for (float& logit : logits) logit = round_to_bf16(logit);
  }
}

// Fills scratch.scores with what the choice compares. scratch.scores holds exp(x - maximum) when
// the score is softmax before top-k. fp32 scores are coarser than logits: docs/numerics.md §2.
void Router::prepare_choice(const Scratch& scratch) const {
  const auto logits = scratch.logits;
  const auto scores = scratch.scores;
  const bool raw = spec_.score_order == ScoreOrder::after_topk;
  const bool softmax = !raw && spec_.score_func == ScoreFunc::softmax;
  if (softmax && !std::isfinite(scratch.softmax.total)) {
    std::fill(scores.begin(), scores.end(), kNever);
  } else if (raw || spec_.score_func == ScoreFunc::none) {
    std::copy(logits.begin(), logits.end(), scores.begin());
  } else if (correction_bias_.empty() && spec_.n_group == 1) {
    // A logit of -inf has a finite score, which must beat the -inf that NaN counts as.
    for (std::size_t i = 0; i < scores.size(); ++i) {
      scores[i] = logits[i] < kLowest ? kLowest : logits[i];
    }
  } else if (softmax) {
    const auto total = static_cast<float>(scratch.softmax.total);
    for (float& score : scores) score /= total;
  } else if (spec_.score_func == ScoreFunc::sigmoid) {
    sigmoid_row(logits, scores);
  } else {
    for (std::size_t i = 0; i < scores.size(); ++i) scores[i] = sqrt_softplus(logits[i]);
  }
  for (std::size_t i = 0; i < correction_bias_.size(); ++i) scores[i] += correction_bias_[i];
}

void Router::mask_groups(const Scratch& scratch) const {
  const auto size = static_cast<std::size_t>(spec_.num_experts / spec_.n_group);
  const auto group = [&](std::size_t index) { return scratch.scores.subspan(index * size, size); };
  for (std::size_t g = 0; g < scratch.groups.size(); ++g) {
    scratch.groups[g] =
        spec_.group_score == GroupScore::max ? best_of(group(g)) : sum_of_top2(group(g));
  }
  const auto best = scratch.best.first(static_cast<std::size_t>(spec_.topk_group));
  choose_top(scratch.groups, best);
  const std::uint64_t worst_kept = best.back();
  for (std::size_t g = 0; g < scratch.groups.size(); ++g) {
    if (choice_key(scratch.groups[g], static_cast<std::int64_t>(g)) >= worst_kept) continue;
    std::fill(group(g).begin(), group(g).end(), kNever);
  }
}

// A chosen score that is not finite weighs nothing.
void Router::weigh(const Scratch& scratch, std::span<const std::int32_t> ids,
                   std::span<float> weights) const {
  double chosen[kMaxTopK];
  const std::span values(chosen, ids.size());
  const bool before = spec_.score_order == ScoreOrder::before_topk;
  SoftmaxRow softmax = scratch.softmax;
  if (!before) {
    softmax = {};
    for (const std::int32_t id : ids) {
      softmax.maximum =
          std::max<double>(softmax.maximum, scratch.logits[static_cast<std::size_t>(id)]);
    }
    for (const std::int32_t id : ids) {
      softmax.total += std::exp(scratch.logits[static_cast<std::size_t>(id)] - softmax.maximum);
    }
  }
  for (std::size_t slot = 0; slot < ids.size(); ++slot) {
    const auto id = static_cast<std::size_t>(ids[slot]);
    const double logit = scratch.logits[id];
    double score = logit;
    if (spec_.score_func == ScoreFunc::softmax) score = softmax.score(logit);
    if (spec_.score_func == ScoreFunc::sigmoid) score = sigmoid(logit);
    if (spec_.score_func == ScoreFunc::sqrt_softplus) score = sqrt_softplus(logit);
    if (spec_.weights_from_biased_scores && !correction_bias_.empty())
      score += correction_bias_[id];
    values[slot] = std::isfinite(score) ? score : 0.0;
  }
  normalise(spec_, values);
  const double factor = spec_.apply_routed_scale_to_output ? 1.0 : spec_.routed_scaling_factor;
  // A product beyond fp32 stays infinite, as everywhere else: 0 would be another layer's answer.
  for (std::size_t slot = 0; slot < ids.size(); ++slot) {
    weights[slot] = static_cast<float>(values[slot] * factor);
  }
}

}  // namespace sluice
