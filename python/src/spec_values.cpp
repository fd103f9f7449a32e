#include "spec_values.hpp"

#include <nanobind/stl/string.h>

#include <cmath>
#include <limits>
#include <string>

#include <sluice/fields.hpp>
#include <sluice/presets.hpp>

#include "base/fail.hpp"
#include "values.hpp"

namespace sluice::python {
namespace {

nb::object json(const char* function, const nb::handle& argument) {
  return nb::module_::import_("json").attr(function)(argument);
}

// JSON knows Python's own types only; NumPy's integers are numbers too.
nb::object plain_scalar(const std::string& name, const nb::handle& value) {
  PyObject* const given = value.ptr();
  if (value.is_none() || PyLong_Check(given) || PyFloat_Check(given) || PyUnicode_Check(given)) {
    return nb::borrow(value);
  }
  if (PyIndex_Check(given)) {
    if (PyObject* const number = PyNumber_Index(given)) return nb::steal(number);
    PyErr_Clear();  // it has __index__ and refuses to use it
  }
  fail(ErrorKind::user, "{} is {}; it must be a number, a bool, a string or a list of integers",
       name, shown(value));
}

// The value in Python's own types: scalars and arrays of NumPy (and torch) say it by tolist().
nb::object plain_value(const std::string& name, const nb::handle& value) {
  const bool foreign = !PyType_Check(value.ptr()) && nb::hasattr(value, "tolist");
  const nb::object own = foreign ? nb::object(value.attr("tolist")()) : nb::borrow(value);
  if (!nb::isinstance<nb::list>(own) && !nb::isinstance<nb::tuple>(own)) {
    return plain_scalar(name, own);
  }
  nb::list elements;
  for (const nb::handle element : own) elements.append(plain_scalar(name, element));
  return elements;
}

// JSON has no spelling of these, and its reader would name a column instead of the field.
void check_finite(const std::string& name, const nb::handle& value) {
  if (nb::isinstance<nb::list>(value)) {
    for (const nb::handle element : value) check_finite(name, element);
  } else if (PyFloat_Check(value.ptr()) && !std::isfinite(PyFloat_AS_DOUBLE(value.ptr()))) {
    fail(ErrorKind::user, "{} is {}; it must be finite", name, PyFloat_AS_DOUBLE(value.ptr()));
  }
}

// Neutral values that JSON says by leaving the field out: no limit, all experts, no map. As
// attributes they are values, and what is read may be given.
bool left_out(const Field& field, const nb::handle& value) {
  if (field.neutral == "inf") {
    double number = 0;
    return nb::try_cast(value, number, false) && number == std::numeric_limits<double>::infinity();
  }
  if (field.key == "num_local_experts") {
    std::int64_t count = 0;
    return nb::try_cast(value, count, false) && count == kAllExperts;
  }
  const bool is_list = nb::isinstance<nb::list>(value) || nb::isinstance<nb::tuple>(value);
  return field.kind == FieldKind::list && is_list && nb::len(value) == 0;
}

void set_field(nb::dict& groups, std::string_view name, const nb::handle& given) {
  const Field& known = field(find_field(name));
  const nb::object value = plain_value(std::string(known.name), given);
  const std::string group(known.name.substr(0, known.name.find('.')));
  const nb::str key(known.key.data(), known.key.size());
  if (!groups.contains(group.c_str())) groups[group.c_str()] = nb::dict();
  nb::dict members = nb::cast<nb::dict>(groups[group.c_str()]);
  if (left_out(known, value)) {
    if (members.contains(key)) nb::del(members[key]);
  } else {
    members[key] = value;
  }
}

}  // namespace

MoeSpec from_dict(const nb::dict& groups) {
  nb::dict plain;
  for (const auto& [group, members] : groups) {
    if (!nb::isinstance<nb::dict>(members)) {
      plain[group] = members;
      continue;
    }
    nb::dict own;
    for (const auto& [key, value] : nb::borrow<nb::dict>(members)) {
      const std::string name = fmt::format("{}.{}", utf8(nb::str(group)), utf8(nb::str(key)));
      own[key] = plain_value(name, value);
      check_finite(name, own[key]);
    }
    plain[group] = own;
  }
  return parse_spec(nb::cast<std::string>(json("dumps", plain)));
}

nb::dict to_dict(const MoeSpec& spec) {
  return nb::cast<nb::dict>(json("loads", nb::cast(print_spec(spec))));
}

MoeSpec with_fields(nb::dict groups, const nb::kwargs& changes) {
  for (const auto& [name, value] : changes) {
    const auto key = nb::cast<std::string>(name);
    if (key == kRoutingMethod) {
      if (!groups.contains("router")) groups["router"] = nb::dict();
      groups["router"][kRoutingMethod] = value;
    } else {
      set_field(groups, key, value);
    }
  }
  return from_dict(groups);
}

MoeSpec replace(const MoeSpec& spec, const nb::kwargs& changes) {
  MoeSpec base = spec;
  if (changes.contains(kRoutingMethod)) {
    // The preset replaces the formula, so it must not lose to the fields that stand already.
    const nb::object asked = changes[kRoutingMethod];
    std::string name;
    if (!nb::try_cast(asked, name)) {
      fail(ErrorKind::user,
           "routing_method is {}; it must be a name, as in sluice.routing_methods()", shown(asked));
    }
    routing_method(name).apply(base.router);
    nb::kwargs others = nb::cast<nb::kwargs>(nb::dict(changes));
    nb::del(others[kRoutingMethod]);
    return with_fields(to_dict(base), others);
  }
  return with_fields(to_dict(base), changes);
}

}  // namespace sluice::python
