// Readers know places within their text. Whose text it is stands before that in a message, once.
#pragma once

#include <string_view>

#include <sluice/error.hpp>

#include "base/fail.hpp"

namespace sluice {

template <typename Read>
auto in_file(std::string_view file, const Read& read) {
  try {
    return read();
  } catch (const Error& error) {
    const std::string_view message = error.what();
    if (message.starts_with(file)) throw;
    fail(error.kind(), "{}: {}", file, message);
  }
}

}  // namespace sluice
