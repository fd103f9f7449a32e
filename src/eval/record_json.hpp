// One line of the records to and from JSON.
#pragma once

#include <nlohmann/json.hpp>
#include <sluice/eval.hpp>

namespace sluice {

nlohmann::ordered_json to_json(const EvalAnswer& answer);
nlohmann::ordered_json to_json(const EvalTimes& times);
// Throw nlohmann::json::exception for missing or mistyped keys, std::invalid_argument for values
// that no record has.
EvalAnswer answer_from_json(const nlohmann::json& json);
EvalTimes times_from_json(const nlohmann::json& json);

}  // namespace sluice
