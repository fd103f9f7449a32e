// Names of character properties, as \p{…} and [:…:] use them.
#pragma once

#include <string>
#include <string_view>

namespace sluice::tokenizer {

// The body of a PCRE2 class for the property; empty when neither we nor PCRE2 know the name.
std::string property_class(std::string_view name);

// Likewise: Unicode White_Space, and the word characters.
std::string_view white_space_class();
std::string_view word_class();

}  // namespace sluice::tokenizer
