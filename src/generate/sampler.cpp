#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include <sluice/generate.hpp>

#include "base/fail.hpp"

namespace sluice {
namespace {

struct WeightedId {
  double weight;  // exp((logit - largest) / temperature)
  std::int32_t id;
  // Likelier first, then the lower id.
  friend bool operator<(const WeightedId& a, const WeightedId& b) {
    return a.weight != b.weight ? a.weight > b.weight : a.id < b.id;
  }
};

float largest_logit(std::span<const float> logits) {
  float largest = -std::numeric_limits<float>::infinity();
  bool any = false;
  for (const float logit : logits) {
    if (std::isnan(logit)) continue;
    largest = std::max(largest, logit);
    any = true;
  }
  if (!any) {
    fail(ErrorKind::checkpoint,
         "none of {} logits is a number: a weight is none, or the backend makes none of it; "
         "compare with the backend reference",
         logits.size());
  }
  return largest;
}

double total(std::span<const WeightedId> candidates) {
  double sum = 0.0;
  for (const WeightedId& candidate : candidates) sum += candidate.weight;
  return sum;
}

std::vector<WeightedId> weigh(std::span<const float> logits, double temperature) {
  const float largest = largest_logit(logits);
  std::vector<WeightedId> candidates;
  candidates.reserve(logits.size());
  for (std::size_t id = 0; id < logits.size(); ++id) {
    if (std::isnan(logits[id])) continue;
    // Equal first: infinite logits would give inf - inf.
    const double distance = logits[id] == largest
                                ? 0.0
                                : static_cast<double>(logits[id]) - static_cast<double>(largest);
    candidates.push_back({std::exp(distance / temperature), static_cast<std::int32_t>(id)});
  }
  return candidates;
}

void keep_top_k(std::vector<WeightedId>& candidates, std::int64_t top_k) {
  if (top_k == 0 || top_k >= std::ssize(candidates)) return;
  std::partial_sort(candidates.begin(), candidates.begin() + top_k, candidates.end());
  candidates.resize(static_cast<std::size_t>(top_k));
}

// Sorts only as far as needed: a vocabulary has 200,000 ids, the set usually a few dozen.
void keep_top_p(std::vector<WeightedId>& candidates, double top_p) {
  if (top_p >= 1.0) return;
  const double wanted = top_p * total(candidates);
  double sum = 0.0;
  std::size_t sorted = 0;
  for (std::size_t index = 0; index < candidates.size(); ++index) {
    if (index == sorted) {
      const std::size_t more = std::min(candidates.size(), std::max<std::size_t>(64, 8 * sorted));
      std::partial_sort(candidates.begin() + static_cast<std::ptrdiff_t>(sorted),
                        candidates.begin() + static_cast<std::ptrdiff_t>(more), candidates.end());
      sorted = more;
    }
    sum += candidates[index].weight;
    if (sum >= wanted) {
      candidates.resize(index + 1);
      return;
    }
  }
}

// The likeliest candidate's weight is 1.
void keep_min_p(std::vector<WeightedId>& candidates, double min_p) {
  std::erase_if(candidates, [&](const WeightedId& candidate) { return candidate.weight < min_p; });
}

}  // namespace

void validate(const Sampling& sampling) {
  if (!(sampling.temperature >= 0.0) || std::isinf(sampling.temperature)) {
    fail(ErrorKind::user, "temperature is {}; give 0 (greedy) or more", sampling.temperature);
  }
  if (sampling.top_k < 0) {
    fail(ErrorKind::user, "top_k is {}; give 0 (off) or more", sampling.top_k);
  }
  if (!(sampling.top_p > 0.0 && sampling.top_p <= 1.0)) {
    fail(ErrorKind::user, "top_p is {}; give more than 0 and at most 1", sampling.top_p);
  }
  if (!(sampling.min_p >= 0.0 && sampling.min_p <= 1.0)) {
    fail(ErrorKind::user, "min_p is {}; give 0 to 1", sampling.min_p);
  }
}

struct Sampler::State {
  Sampling sampling;
  std::mt19937_64 random;
};

Sampler::Sampler(const Sampling& sampling)
    : state_(new State{sampling, std::mt19937_64(sampling.seed)}) {
  validate(sampling);
}

Sampler::~Sampler() = default;
Sampler::Sampler(Sampler&&) noexcept = default;
Sampler& Sampler::operator=(Sampler&&) noexcept = default;

std::int32_t greedy_choice(std::span<const float> logits) {
  const float largest = largest_logit(logits);
  return static_cast<std::int32_t>(std::find(logits.begin(), logits.end(), largest) -
                                   logits.begin());
}

std::int32_t Sampler::operator()(std::span<const float> logits) {
  const Sampling& sampling = state_->sampling;
  if (sampling.temperature == 0.0) return greedy_choice(logits);
  std::vector<WeightedId> candidates = weigh(logits, sampling.temperature);
  keep_top_k(candidates, sampling.top_k);
  keep_top_p(candidates, sampling.top_p);
  keep_min_p(candidates, sampling.min_p);
  // 53 random bits: the same number on every platform, which standard distributions do not promise.
  double left = static_cast<double>(state_->random() >> 11) * 0x1p-53 * total(candidates);
  for (const WeightedId& candidate : candidates) {
    left -= candidate.weight;
    if (left < 0.0) return candidate.id;
  }
  // Rounding left a crumb: the last candidate that can be drawn at all.
  const auto last = std::find_if(candidates.rbegin(), candidates.rend(),
                                 [](const WeightedId& c) { return c.weight > 0.0; });
  return last->id;
}

}  // namespace sluice
