// From answers to a subject's figures.
#pragma once

#include <optional>
#include <span>

#include <sluice/eval.hpp>

namespace sluice {

// Fills accuracy, likelihood and the comparison with `first` from report.answers.
void summarise(SubjectReport& report, std::span<const EvalAnswer> first);

// Index of the first token in which two answers differ, counting the end of the shorter one;
// nullopt: equal.
std::optional<std::int64_t> first_difference(std::span<const TokenId> a,
                                             std::span<const TokenId> b);

}  // namespace sluice
