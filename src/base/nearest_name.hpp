// "did you mean …": the known name nearest to what was typed.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace sluice {

// A slip of two edits at most, else the shortest name that begins so, else the smallest edit
// distance; empty when nothing is close enough to be a likely slip.
std::string nearest_name(std::string_view typed, std::span<const std::string_view> known);
// ` (did you mean "top_k"?)` or an empty string: to be appended to a message.
std::string did_you_mean(std::string_view typed, std::span<const std::string_view> known);

}  // namespace sluice
