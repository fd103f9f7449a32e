// Python's string methods, as far as chat templates use them. Strings are valid UTF-8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "tokenizer/jinja/value.hpp"

namespace sluice::tokenizer::jinja {

// What one value may hold.
constexpr std::size_t kMaxTextBytes = 64 << 20;
constexpr std::size_t kMaxListItems = 100'000;

bool is_string_method(std::string_view name);
// Throws Error(unsupported) for arguments that are not known.
Value string_method(int line, std::string_view name, const std::string& self,
                    const List& arguments);
std::size_t characters(std::string_view text);
// Without the characters of `set` (empty: white space) at the ends that are named.
std::string stripped(std::string_view text, std::string_view set, bool left, bool right);
// Throws Error(unsupported) when the result is longer than kMaxTextBytes.
std::string replaced(int line, std::string_view text, std::string_view from, std::string_view to);
// Appends, with the same limit.
void append(int line, std::string& text, std::string_view more);
// The characters at begin, begin + stride, … before end: all of them inside the text.
std::string picked(std::string_view text, std::int64_t begin, std::int64_t end,
                   std::int64_t stride);
// Where `part` stands at or behind `from`, or npos.
std::size_t find(std::string_view text, std::string_view part, std::size_t from = 0);

}  // namespace sluice::tokenizer::jinja
