// The files that verbs read and write.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace sluice::cli {

// Why no file could be written at `path`, or "": asked before hours of work, not after. Tries it
// with a temporary file beside `path`, and leaves nothing behind.
std::string why_unwritable(const std::string& path);
// The same for a directory that may have to be made first.
std::string why_unwritable_directory(const std::string& path);

// Writes to a temporary file beside `path` and renames it: readers see the old file or the whole
// new one. "-" is standard output. Throws Error(user) naming the file.
void write_text(const std::string& path, const std::string& text);
void write_json(const std::string& path, const nlohmann::ordered_json& json);

// The whole file; throws Error(user) naming it.
std::string read_text(const std::string& path);

}  // namespace sluice::cli
