// Where a result goes that readers are to see whole or not at all.
#pragma once

#include <filesystem>

namespace sluice {

struct WriteTarget {
  std::filesystem::path path;
  // Written as it stands: renaming would put a file where /dev/null was. Otherwise a temporary file
  // beside `path` is renamed to it.
  bool in_place = false;
};

// Follows links, so that they keep pointing at what is written: /dev/stderr is a link, to a regular
// file where standard error goes to one.
WriteTarget write_target(const std::filesystem::path& path);

// By any of its names: /dev/stdout, /dev/fd/1, /proc/self/fd/1.
bool is_standard_output(const std::filesystem::path& path);

}  // namespace sluice
