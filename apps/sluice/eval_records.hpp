// The records of an evaluation: where they go, and what must be the same to resume them.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "eval_options.hpp"
#include "eval_runs.hpp"

namespace sluice::cli {

std::string records_path(const EvalVerbOptions& options);

// EvalOptions::settings.
std::string settings_of(const EvalVerbOptions& options, const std::vector<EvalRun>& runs,
                        std::span<const Problem> problems, const Tokenizer& tokenizer,
                        const EvalOptions& eval);

}  // namespace sluice::cli
