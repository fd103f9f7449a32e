// Text for people on standard error. Where it cannot be written nobody is left to be told, and the
// exit status still says how it went; fmt::print would throw, also out of the handler of an error.
#pragma once

#include <cstdio>
#include <string_view>

namespace sluice::cli {

inline void to_stderr(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

}  // namespace sluice::cli
