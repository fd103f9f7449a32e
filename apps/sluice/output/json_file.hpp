// Machine-readable results.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace sluice::cli {

// Writes `json` to a temporary file beside `path` and renames it: readers see the old file or the
// whole new one. "-" is standard output. Throws Error(user) naming the file.
void write_json(const std::string& path, const nlohmann::ordered_json& json);

// The whole file; throws Error(user) naming it.
std::string read_text(const std::string& path);

}  // namespace sluice::cli
