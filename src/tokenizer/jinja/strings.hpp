// Python's string methods, as far as chat templates use them. Strings are valid UTF-8.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "tokenizer/jinja/value.hpp"

namespace sluice::tokenizer::jinja {

bool is_string_method(std::string_view name);
// Throws Error(unsupported) for arguments that are not known.
Value string_method(int line, std::string_view name, const std::string& self,
                    const List& arguments);
std::size_t characters(std::string_view text);
// Without the characters of `set` (empty: white space) at the ends that are named.
std::string stripped(std::string_view text, std::string_view set, bool left, bool right);
std::string replaced(std::string_view text, std::string_view from, std::string_view to);

}  // namespace sluice::tokenizer::jinja
