// JSON that people and strangers write. A key that stands twice is refused: the parser would keep
// the last, and a value written twice is a value lost.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include <sluice/error.hpp>

namespace sluice {

// Copying, printing and comparing values recurse: without a limit a stranger's file could end the
// process. No config, index or tokenizer comes near it.
inline constexpr int kDeepestJson = 64;

// `what` names the text in messages, which say line and column; `kind` says whose mistake it is.
// Nothing nests deeper than kDeepestJson levels.
nlohmann::json parse_json(std::string_view text, const std::string& what, ErrorKind kind);

// The same, and the root is an object and no key stands twice.
nlohmann::json parse_json_object(std::string_view text, const std::string& what, ErrorKind kind);

// A value as a message shows it: ASCII, cut where it is long.
std::string shown_value(const nlohmann::json& value);

}  // namespace sluice
