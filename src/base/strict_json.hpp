// JSON that people and strangers write: refused when a key stands twice (the parser would keep the
// last; a value written twice is a value lost) or when it nests deeper than any file of ours.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include <sluice/error.hpp>

namespace sluice {

// `what` names the text in messages, `kind` says whose mistake it is. The root is an object.
nlohmann::json parse_json_object(const std::string& text, const std::string& what, ErrorKind kind);

}  // namespace sluice
