// JSON that people and strangers write. A key that stands twice is refused: the parser would keep
// the last, and a value written twice is a value lost.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include <sluice/error.hpp>

namespace sluice {

// `what` names the text in messages, which say line and column; `kind` says whose mistake it is.
nlohmann::json parse_json(std::string_view text, const std::string& what, ErrorKind kind);

// The root is an object, no key stands twice, and nothing nests deeper than 64 levels.
nlohmann::json parse_json_object(const std::string& text, const std::string& what, ErrorKind kind);

// A value as a message shows it: ASCII, cut where it is long.
std::string shown_value(const nlohmann::json& value);

}  // namespace sluice
