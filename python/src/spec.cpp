// MoeSpec as an immutable value. Attributes come from the field registry; changes go through JSON,
// so that whatever exists in Python has been validated.
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <cmath>
#include <limits>

#include <sluice/presets.hpp>
#include <sluice/spec.hpp>

#include "base/fail.hpp"
#include "base/nearest_name.hpp"
#include "bindings.hpp"
#include "spec/registry.hpp"
#include "values.hpp"

namespace sluice::python {
namespace {

constexpr const char* kRoutingMethod = "routing_method";

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

MoeSpec from_dict(const nb::dict& groups) {
  nb::dict plain;
  for (const auto& [group, members] : groups) {
    if (!nb::isinstance<nb::dict>(members)) {
      plain[group] = members;
      continue;
    }
    nb::dict own;
    for (const auto& [key, value] : nb::borrow<nb::dict>(members)) {
      const std::string name = fmt::format("{}.{}", nb::str(group).c_str(), nb::str(key).c_str());
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

template <typename T>
auto python_value(const T& value) {
  if constexpr (std::is_enum_v<T>) {
    return std::string(to_string(value));
  } else {
    return value;
  }
}

[[noreturn]] void unknown_attribute(std::string_view name) {
  std::vector<std::string_view> keys;
  for (const Field& known : fields()) keys.push_back(known.key);
  throw nb::attribute_error(
      fmt::format("MoeSpec has no field \"{}\"{}", name, did_you_mean(name, keys)).c_str());
}

// What a field takes, as a type checker says it: plain_value() takes NumPy's scalars too.
const char* taken_type(FieldKind kind) {
  switch (kind) {
    case FieldKind::size:
    case FieldKind::integer:
      return "typing.SupportsIndex";
    case FieldKind::flag:
    case FieldKind::tensor_flag:
      return "bool | numpy.bool_";
    case FieldKind::real:
      return "typing.SupportsFloat";
    case FieldKind::choice:
      return "str";
    case FieldKind::list:
      return "collections.abc.Sequence[typing.SupportsIndex] | numpy.ndarray";
  }
  return "";
}

// The signature of a function that takes every field by name, so that the stub refuses others.
std::string taking_fields(std::string_view name, bool sizes_are_needed, std::string_view result) {
  std::string text = fmt::format("def {}(self, *, ", name);
  for (const Field& known : fields()) {
    const bool needed = sizes_are_needed && known.kind == FieldKind::size;
    text += fmt::format("{}: {}{}, ", known.key, taken_type(known.kind), needed ? "" : " = ...");
  }
  return text + fmt::format("{}: str = ...) -> {}", kRoutingMethod, result);
}

const char* kind_name(FieldKind kind) {
  switch (kind) {
    case FieldKind::size:
      return "size";
    case FieldKind::flag:
      return "flag";
    case FieldKind::tensor_flag:
      return "tensor_flag";
    case FieldKind::integer:
      return "integer";
    case FieldKind::real:
      return "real";
    case FieldKind::choice:
      return "choice";
    case FieldKind::list:
      return "list";
  }
  return "";
}

void bind_field(nb::module_& module) {
  nb::class_<Field>(module, "Field", "One row of the field registry (docs/fields.md).")
      .def_ro("name", &Field::name, "\"router.routed_scaling_factor\": what claims are made of.")
      .def_ro("key", &Field::key, "\"routed_scaling_factor\": the attribute of MoeSpec.")
      .def_ro("neutral", &Field::neutral, "The value that asks nothing of a backend, as printed.")
      .def_ro("meaning", &Field::meaning)
      .def_prop_ro(
          "kind", [](const Field& f) { return kind_name(f.kind); },
          "size, flag, tensor_flag, integer, real, choice or list.")
      .def(
          "is_neutral", [](const Field& f, const MoeSpec& spec) { return f.is_neutral(spec); },
          nb::arg("spec"))
      .def("__repr__", [](const Field& f) { return fmt::format("sluice.Field({})", f.name); });
  module.def(
      "fields",
      [] {
        nb::list list;
        for (const Field& known : fields()) list.append(nb::cast(&known, nb::rv_policy::reference));
        return list;
      },
      nb::sig("def fields() -> list[Field]"),
      "Every field of MoeSpec, in order: the one list that backends claim from.");
}

}  // namespace

void bind_spec(nb::module_& module) {
  bind_field(module);
  nb::class_<MoeSpec> spec(module, "MoeSpec",
                           R"(Everything about what one MoE layer computes, and nothing about how.

MoeSpec(num_experts=8, top_k=2, hidden_size=64, intermediate_size=128,
        routing_method="DeepSeekV3", routed_scaling_factor=2.5)

Fields are attributes (``sluice.fields()`` lists them; names and formulas: docs/semantics.md);
what is not given is neutral. ``routing_method`` is shorthand for a preset's fields, which the other
arguments override. A spec is valid and never changes: ``replace`` makes another.
Raises Error (kind "user") for unknown fields and for contradictions, naming the fields.)");
  spec.def(
          "__init__",
          [](MoeSpec* self, const nb::kwargs& given) {
            new (self) MoeSpec(with_fields(nb::dict(), given));
          },
          nb::sig(taking_fields("__init__", true, "None").c_str()))
      .def_static("from_json", &parse_spec, nb::arg("text"),
                  "Reads the form of docs/semantics.md §5; unknown keys are errors.")
      .def_static("from_dict", &from_dict, nb::arg("groups"),
                  "The same as a dict: {\"router\": {…}, \"experts\": {…}, \"layer\": {…}}.")
      .def("to_json", &print_spec, "The sizes and whatever is not neutral.")
      .def("to_dict", &to_dict, nb::sig("def to_dict(self) -> dict[str, dict]"))
      .def("replace", &replace, nb::sig(taking_fields("replace", false, "MoeSpec").c_str()),
           "A copy with the given fields changed: spec.replace(top_k=4).")
      // Left out of the stub (stub_patterns.txt): with it any name would be an attribute there.
      .def("__getattr__", [](const MoeSpec&, std::string_view name) { unknown_attribute(name); })
      .def(
          "__eq__", [](const MoeSpec& a, const MoeSpec& b) { return a == b; }, nb::is_operator())
      .def("__hash__", [](const MoeSpec& s) { return nb::hash(nb::cast(print_spec(s))); })
      .def("__getstate__", &print_spec)
      .def("__setstate__",
           [](MoeSpec* self, const std::string& text) { new (self) MoeSpec(parse_spec(text)); })
      .def("__repr__", [](const MoeSpec& s) {
        return fmt::format("sluice.MoeSpec.from_json('''{}''')", print_spec(s));
      });
  for_each_row([&]<typename R>(const R& row) {
    const std::string key(row.field.key);
    const std::string meaning(row.field.meaning);
    spec.def_prop_ro(
        key.c_str(), [](const MoeSpec& s) { return python_value(R::get(s)); }, meaning.c_str());
  });
}

}  // namespace sluice::python
