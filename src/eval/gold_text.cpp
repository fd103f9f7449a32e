#include "eval/gold_text.hpp"

#include <algorithm>

namespace sluice {

GoldText gold_text(const Tokenizer& tokenizer, const PromptStyle& style, const Problem& problem) {
  if (style.chat) {
    const std::string prompt = tokenizer.render_chat(build_chat(style, problem.question), true);
    return {tokenizer.encode(prompt, false),
            tokenizer.encode(problem.answer, false, SpecialText::ordinary)};
  }
  return {tokenizer.encode(build_prompt(style, problem.question)),
          tokenizer.encode(" " + problem.answer, false, SpecialText::ordinary)};
}

SequenceLength longest_sequence(
    const Tokenizer& tokenizer, std::span<const Problem> problems, const EvalOptions& options,
    const std::function<void(std::size_t done, std::size_t total)>& progress) {
  SequenceLength longest;
  std::size_t done = 0;
  for (const Problem& problem : problems) {
    const GoldText text = gold_text(tokenizer, options.prompt, problem);
    const SequenceLength length{std::ssize(text.prompt),
                                std::max(std::ssize(text.answer), options.max_new_tokens)};
    // Differences: a sum of these may be more than a number can hold.
    if (length.behind - longest.behind > longest.prompt - length.prompt) longest = length;
    if (progress) progress(++done, problems.size());
  }
  return longest;
}

}  // namespace sluice
