// Values that Python gives where a string is wanted, and what messages show of others.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <string>

#include "base/fail.hpp"

namespace sluice::python {

namespace nb = nanobind;

// "3 (int)": the value as Python prints it, and its type.
inline std::string shown(const nb::handle& value) {
  return fmt::format("{} ({})", nb::repr(value).c_str(), nb::type_name(value.type()).c_str());
}

// Throws Error(user) for a tensor's name that is no string.
inline std::string tensor_name(const nb::handle& key) {
  std::string name;
  if (nb::try_cast(key, name)) return name;
  fail(ErrorKind::user, "a tensor's name is {}; names are strings", shown(key));
}

}  // namespace sluice::python
