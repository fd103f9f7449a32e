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

inline CLI::Validator writable_directory() {
  return {[](const std::string& path) { return why_unwritable_directory(path); }, ""};
}

}  // namespace sluice::cli
