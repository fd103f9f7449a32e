// Values that Python gives where a string is wanted, and what messages show of others.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <string>
#include <string_view>

#include "base/fail.hpp"

namespace sluice::python {

namespace nb = nanobind;

// As a str. What is no UTF-8 (names of files, a plugin's words) is shown by its bytes, "\xff".
inline nb::str text(std::string_view bytes) {
  PyObject* const decoded =
      PyUnicode_DecodeUTF8(bytes.data(), static_cast<Py_ssize_t>(bytes.size()), "backslashreplace");
  if (decoded == nullptr) nb::raise_python_error();
  return nb::steal<nb::str>(decoded);
}

// What a str holds, for messages: lone surrogates, which have no UTF-8, as "\udcff".
inline std::string utf8(const nb::str& text) {
  PyObject* const encoded = PyUnicode_AsEncodedString(text.ptr(), "utf-8", "backslashreplace");
  if (encoded == nullptr) nb::raise_python_error();
  const nb::bytes bytes = nb::steal<nb::bytes>(encoded);
  return {bytes.c_str(), bytes.size()};
}

// What an exception says, for messages.
inline std::string message_of(const nb::python_error& raised) {
  try {
    return utf8(nb::str(raised.value()));
  } catch (const nb::python_error& again) {
    if (!again.matches(PyExc_Exception)) throw;
    return fmt::format("<its str() raised {}>", nb::type_name(again.type()).c_str());
  }
}

// "3 (int)": the value as Python prints it, and its type.
inline std::string shown(const nb::handle& value) {
  return fmt::format("{} ({})", utf8(nb::repr(value)), nb::type_name(value.type()).c_str());
}

// Throws Error(user) for a tensor's name that is no string.
inline std::string tensor_name(const nb::handle& key) {
  std::string name;
  if (nb::try_cast(key, name)) return name;
  fail(ErrorKind::user, "a tensor's name is {}; names are strings", shown(key));
}

}  // namespace sluice::python
