// A problem as the model sees it: what it is asked, and the given solution.
#pragma once

#include <vector>

#include <sluice/eval.hpp>

namespace sluice {

struct GoldText {
  std::vector<TokenId> prompt;  // at least one id
  std::vector<TokenId> answer;  // at least one id
};

GoldText gold_text(const Tokenizer& tokenizer, const PromptStyle& style, const Problem& problem);

}  // namespace sluice
