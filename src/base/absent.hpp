// Whether a file was left out on purpose, which an optional file may be.
#pragma once

#include <filesystem>

namespace sluice {

// Not !exists(): to that a link to nowhere (a pruned cache), a loop of links and a directory that
// must not be searched are absent too. Such a file is lost, and what it says with it.
inline bool is_absent(const std::filesystem::path& path) {
  std::error_code error;  // tells no more than the status does
  return std::filesystem::symlink_status(path, error).type() ==
         std::filesystem::file_type::not_found;
}

}  // namespace sluice
