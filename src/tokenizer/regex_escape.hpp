// What follows a backslash, and the names of character properties: single characters and sets.
#pragma once

#include <optional>
#include <string_view>

#include "tokenizer/regex_class.hpp"
#include "tokenizer/regex_reader.hpp"

namespace sluice::tokenizer {

// The single character, or the set, that an escape stands for; nullopt: another kind of escape.
// `letter` follows the backslash, and what may follow it is read.
std::optional<char32_t> escaped_character(RegexReader& reader, char32_t letter);
std::optional<CharacterSet> escaped_set(RegexReader& reader, char32_t letter);

// The property whose name stands here, before `close`: "}" of \p{…}, ":]" of [:…:].
CharacterSet named_set(RegexReader& reader, std::string_view close, bool negated);

}  // namespace sluice::tokenizer
