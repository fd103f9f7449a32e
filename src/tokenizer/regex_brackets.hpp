// Character classes in brackets, as Oniguruma reads them: nested, and cut with &&.
#pragma once

#include "tokenizer/regex_class.hpp"
#include "tokenizer/regex_reader.hpp"

namespace sluice::tokenizer {

// What stands behind the opening bracket, to the closing one. `depth`: of groups and classes
// around.
CharacterSet character_class(RegexReader& reader, int depth);

}  // namespace sluice::tokenizer
