// throw Error with a formatted message: fail(ErrorKind::user, "top_k is {}, …", k).
#pragma once

#include <fmt/format.h>

#include <sluice/error.hpp>
#include <utility>

namespace sluice {

template <typename... Args>
[[noreturn]] void fail(ErrorKind kind, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(kind, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace sluice
