// A check for options that name an output file: a path that cannot be written is refused while the
// command line is read, before any work.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "output/files.hpp"

namespace sluice::cli {

inline CLI::Validator writable() {
  return {[](const std::string& path) { return why_unwritable(path); }, ""};
}

// For results that are read back by offset or line: "-", standard output elsewhere, is refused.
inline CLI::Validator writable_file() {
  return {[](const std::string& path) -> std::string {
            if (path != "-") return why_unwritable(path);
            return "- given; this result needs a file, not standard output (./- names one)";
          },
          ""};
}

inline CLI::Validator writable_directory() {
  return {[](const std::string& path) { return why_unwritable_directory(path); }, ""};
}

}  // namespace sluice::cli
