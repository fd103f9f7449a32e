#include "tokenizer/pre_tokenizer.hpp"

#include <algorithm>
#include <utility>

#include "base/fail.hpp"
#include "tokenizer/byte_alphabet.hpp"

namespace sluice::tokenizer {
namespace {

void find_all(std::string_view text, const std::string& needle, std::vector<Span>& spans) {
  std::size_t done = 0;
  while (!needle.empty()) {
    const std::size_t at = text.find(needle, done);
    if (at == std::string_view::npos) break;
    if (done != at) spans.push_back({done, at, false});
    done = at + needle.size();
    spans.push_back({at, done, true});
  }
  if (done != text.size()) spans.push_back({done, text.size(), false});
}

// The spans (matches and gaps, in order) joined or dropped as the behaviour says.
std::vector<Span> apply(SplitBehavior behavior, std::vector<Span> spans) {
  std::vector<Span> out;
  bool previous = false;  // was the neighbour a match?
  switch (behavior) {
    case SplitBehavior::isolated:
      return spans;
    case SplitBehavior::removed:
      std::erase_if(spans, [](const Span& span) { return span.matched; });
      return spans;
    case SplitBehavior::contiguous:
      for (const Span& span : spans) {
        if (span.matched == previous && !out.empty()) {
          out.back().end = span.end;
        } else {
          out.push_back(span);
        }
        previous = span.matched;
      }
      return out;
    case SplitBehavior::merged_with_previous:
      for (const Span& span : spans) {
        if (span.matched && !previous && !out.empty()) {
          out.back().end = span.end;
        } else {
          out.push_back(span);
        }
        previous = span.matched;
      }
      return out;
    case SplitBehavior::merged_with_next:
      std::reverse(spans.begin(), spans.end());
      for (const Span& span : spans) {
        if (span.matched && !previous && !out.empty()) {
          out.back().begin = span.begin;
        } else {
          out.push_back(span);
        }
        previous = span.matched;
      }
      std::reverse(out.begin(), out.end());
      return out;
  }
  return out;
}

const Regex& gpt2_regex() {
  static const Regex regex(
      R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)");
  return regex;
}

std::vector<Span> cut(const Split& split, std::string_view word) {
  std::vector<Span> spans;
  if (const auto* regex = std::get_if<Regex>(&split.pattern)) {
    regex->split(word, spans);
  } else {
    find_all(word, std::get<std::string>(split.pattern), spans);
  }
  if (split.invert) {
    for (Span& span : spans) span.matched = !span.matched;
  }
  return apply(split.behavior, std::move(spans));
}

void refine(const Split& split, Words& words) {
  std::vector<Span> refined;
  for (const Span& word : words.spans) {
    const auto text = std::string_view(words.text).substr(word.begin, word.end - word.begin);
    for (const Span& part : cut(split, text)) {
      if (part.begin == part.end) continue;
      refined.push_back({word.begin + part.begin, word.begin + part.end, false});
    }
  }
  words.spans = std::move(refined);
}

void to_byte_characters(const ByteLevel& step, Words& words) {
  Words mapped;
  mapped.text.reserve(words.text.size() + words.text.size() / 2);
  std::string prefixed;
  std::vector<Span> parts;
  for (const Span& word : words.spans) {
    auto text = std::string_view(words.text).substr(word.begin, word.end - word.begin);
    if (step.add_prefix_space && !text.starts_with(' ')) {
      prefixed = ' ';
      prefixed += text;
      text = prefixed;
    }
    parts.clear();
    if (step.use_regex) {
      gpt2_regex().split(text, parts);
    } else {
      parts.push_back({0, text.size(), false});
    }
    for (const Span& part : parts) {
      const std::size_t begin = mapped.text.size();
      append_byte_characters(mapped.text, text.substr(part.begin, part.end - part.begin));
      mapped.spans.push_back({begin, mapped.text.size(), false});
    }
  }
  words = std::move(mapped);
}

}  // namespace

PreTokenizer::PreTokenizer(std::vector<PreTokenizerStep> steps) : steps_(std::move(steps)) {
  constexpr std::size_t kMostSteps = 64;  // each reads the whole text; models have two or three
  if (steps_.size() > kMostSteps) {
    fail(ErrorKind::unsupported, "pre_tokenizer has {} steps; {} is the limit here", steps_.size(),
         kMostSteps);
  }
  const auto byte_levels = std::count_if(steps_.begin(), steps_.end(), [](const auto& step) {
    return std::holds_alternative<ByteLevel>(step);
  });
  if (byte_levels != 1) {
    fail(ErrorKind::unsupported,
         "pre_tokenizer has {} ByteLevel steps; only byte-level models, with 1, are supported",
         byte_levels);
  }
}

Words PreTokenizer::words(std::string_view text) const {
  Words words{std::string(text), {}};
  if (!text.empty()) words.spans.push_back({0, text.size(), false});
  for (const PreTokenizerStep& step : steps_) {
    if (const auto* split = std::get_if<Split>(&step)) {
      refine(*split, words);
    } else {
      to_byte_characters(std::get<ByteLevel>(step), words);
    }
  }
  return words;
}

Split digits(bool individual) {
  return {Regex(individual ? R"(\p{N})" : R"(\p{N}+)"), SplitBehavior::isolated, false};
}

}  // namespace sluice::tokenizer
