#include "eval/answer_statistics.hpp"

#include <algorithm>

namespace sluice {

std::optional<std::int64_t> first_difference(std::span<const TokenId> a,
                                             std::span<const TokenId> b) {
  const auto [in_a, in_b] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  if (in_a == a.end() && in_b == b.end()) return std::nullopt;
  return in_a - a.begin();
}

void summarise(SubjectReport& report, std::span<const EvalAnswer> first) {
  double nll = 0.0;
  double kl = 0.0;
  std::int64_t gold_tokens = 0;
  std::vector<std::int64_t> differences;
  const auto answers = std::ssize(report.answers);
  for (std::size_t i = 0; i < report.answers.size(); ++i) {
    const EvalAnswer& answer = report.answers[i];
    for (std::size_t rule = 0; rule < kScoringRules; ++rule) {
      report.accuracy[rule].hits += answer.correct[rule];
    }
    report.not_a_number += answer.finish == FinishReason::not_a_number;
    nll += answer.gold_nll;
    kl += answer.kl;
    gold_tokens += answer.gold_tokens;
    const auto difference = first_difference(first[i].ids, answer.ids);
    if (difference) differences.push_back(*difference);
  }
  for (Proportion& proportion : report.accuracy) proportion.trials = answers;
  report.gold_nll = nll / static_cast<double>(gold_tokens);
  report.mean_kl = kl / static_cast<double>(gold_tokens);
  report.identical = {answers - std::ssize(differences), answers};
  if (differences.empty()) return;
  const auto middle = differences.begin() + std::ssize(differences) / 2;
  std::nth_element(differences.begin(), middle, differences.end());
  report.first_divergence = *middle;
}

}  // namespace sluice
