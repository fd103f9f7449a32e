// Four published ways to read a number out of a completion, each with its own quirks kept.
#include <algorithm>
#include <sluice/eval.hpp>

#include "tokenizer/regex.hpp"

namespace sluice {
namespace {

using tokenizer::Regex;
using tokenizer::Span;

constexpr std::string_view kMarker = "#### ";

std::vector<std::string> matches(const Regex& regex, const std::string& text) {
  std::vector<Span> spans;
  regex.split(text, spans);
  std::vector<std::string> found;
  for (const Span& span : spans) {
    if (span.matched) found.push_back(text.substr(span.begin, span.end - span.begin));
  }
  return found;
}

std::string without(std::string text, char character) {
  std::erase(text, character);
  return text;
}

// The first "#### (\-?[0-9\.\,]+)": GSM8K's own pattern, which lm-eval's strict filter shares.
std::optional<std::string> marked_number(const std::string& completion) {
  static const Regex pattern("#### -?[0-9.,]+");
  const auto found = matches(pattern, completion);
  if (found.empty()) return std::nullopt;
  return found.front().substr(kMarker.size());
}

// ---- gsm8k: grade-school-math/dataset.py ----

std::optional<std::string> read_gsm8k(const std::string& completion) {
  const auto number = marked_number(completion);
  return number ? std::optional(without(*number, ',')) : std::nullopt;
}

bool correct_gsm8k(const std::string& completion, const std::string& answer) {
  const bool bare = answer.find(kMarker) == std::string::npos;
  const auto gold = read_gsm8k(bare ? std::string(kMarker) + answer : answer);
  const auto read = read_gsm8k(completion);
  return gold && read && *gold == *read;
}

// ---- lm-evaluation-harness: tasks/gsm8k/gsm8k.yaml, version 3 ----

// Its regexes_to_ignore in their order: "," "\$" "(?s).*#### " "\.$", deleted from both sides.
std::string lm_eval_normalised(std::string text) {
  text = without(without(std::move(text), ','), '$');
  const std::size_t marker = text.rfind(kMarker);
  if (marker != std::string::npos) text.erase(0, marker + kMarker.size());
  // Python's `$` also stands before a final line feed.
  const std::size_t end = text.ends_with('\n') ? text.size() - 1 : text.size();
  if (end > 0 && text[end - 1] == '.') text.erase(end - 1, 1);
  return text;
}

std::optional<std::string> read_strict(const std::string& completion) {
  const auto number = marked_number(completion);
  return number ? std::optional(lm_eval_normalised(*number)) : std::nullopt;
}

std::optional<std::string> read_flexible(const std::string& completion) {
  static const Regex pattern("(-?[$0-9.,]{2,})|(-?[0-9]+)");
  const auto found = matches(pattern, completion);
  if (found.empty()) return std::nullopt;
  return lm_eval_normalised(found.back());
}

bool correct_strict(const std::string& completion, const std::string& answer) {
  return read_strict(completion) == lm_eval_normalised(answer);
}

bool correct_flexible(const std::string& completion, const std::string& answer) {
  return read_flexible(completion) == lm_eval_normalised(answer);
}

// ---- vLLM: tests/evals/gsm8k/gsm8k_eval.py ----

// The last run of digits once commas are gone, signs and points ignored. Python's literal_eval then
// refuses leading zeros (but not zero) and digits of other scripts: no number.
std::optional<std::string> read_vllm(const std::string& completion) {
  static const Regex pattern("\\d+");
  const auto found = matches(pattern, without(completion, ','));
  if (found.empty()) return std::nullopt;
  const std::string& digits = found.back();
  const auto is_ascii_digit = [](char c) { return c >= '0' && c <= '9'; };
  if (!std::all_of(digits.begin(), digits.end(), is_ascii_digit)) return std::nullopt;
  if (digits[0] != '0') return digits;
  if (digits.find_first_not_of('0') != std::string::npos) return std::nullopt;
  return "0";
}

bool correct_vllm(const std::string& completion, const std::string& answer) {
  const auto gold = read_vllm(answer);
  return gold && read_vllm(completion) == gold;
}

constexpr std::array<ScoringRule, kScoringRules> kRules{{
    {"gsm8k", "the number after the first \"#### \", commas removed", read_gsm8k, correct_gsm8k},
    {"lm-eval-strict", "lm-evaluation-harness strict-match: as gsm8k, with its normalisation",
     read_strict, correct_strict},
    {"lm-eval-flexible", "lm-evaluation-harness flexible-extract: the last number-like text",
     read_flexible, correct_flexible},
    {"vllm", "the last run of digits after removing commas", read_vllm, correct_vllm},
}};

}  // namespace

std::span<const ScoringRule, kScoringRules> scoring_rules() { return kRules; }

std::array<Proportion, kScoringRules> score(std::span<const JudgedCompletion> completions) {
  std::array<Proportion, kScoringRules> scores{};
  for (std::size_t rule = 0; rule < kScoringRules; ++rule) {
    scores[rule].trials = std::ssize(completions);
    for (const JudgedCompletion& judged : completions) {
      scores[rule].hits += kRules[rule].correct(judged.completion, judged.answer);
    }
  }
  return scores;
}

}  // namespace sluice
