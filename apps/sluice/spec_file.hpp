// Specs from files, with the file's name in every complaint.
#pragma once

#include <sluice/error.hpp>
#include <sluice/presets.hpp>
#include <string>

#include "output/files.hpp"

namespace sluice::cli {

inline MoeSpec read_spec(const std::string& path) {
  const std::string text = read_text(path);
  try {
    return parse_spec(text);
  } catch (const Error& error) {
    throw Error(error.kind(), path + ": " + error.what());
  }
}

}  // namespace sluice::cli
