// The result of an evaluation for people and for programs.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <sluice/eval.hpp>
#include <string>

namespace sluice::cli {

// "97.4 % [95.6, 98.5]"
std::string percent_with_interval(const Proportion& proportion);

std::string accuracy_table(const EvalReport& report);
std::string speed_table(const EvalReport& report);
// One line that says what the injected fault did to the run that it was injected into.
std::string fault_sentence(const std::string& fault, const EvalReport& report,
                           const SubjectReport& right, const SubjectReport& faulty);

nlohmann::ordered_json report_json(const EvalReport& report);
nlohmann::ordered_json scores_json(const std::array<Proportion, kScoringRules>& scores);

}  // namespace sluice::cli
