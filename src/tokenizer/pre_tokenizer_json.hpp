// The "pre_tokenizer" entry of tokenizer.json.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "tokenizer/pre_tokenizer.hpp"

namespace sluice::tokenizer {

PreTokenizer read_pre_tokenizer(const nlohmann::json& json);

}  // namespace sluice::tokenizer
