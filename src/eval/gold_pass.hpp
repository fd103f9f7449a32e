// Teacher forcing: what each subject thinks of the given solutions.
#pragma once

#include <span>
#include <vector>

#include <sluice/eval.hpp>

#include "eval/gold_text.hpp"

namespace sluice {

struct GoldFigures {
  double nll = 0.0;  // sums over the answer's tokens, in nats
  double kl = 0.0;   // KL(first subject || this one)
};

// [subject][text]. Holds the logits of a few texts of two subjects at a time, never of all: a
// vocabulary of 200,000 over one long solution is 100 MB.
std::vector<std::vector<GoldFigures>> gold_pass(std::span<const EvalSubject> subjects,
                                                std::span<const GoldText> texts);

}  // namespace sluice
