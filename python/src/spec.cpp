// MoeSpec as an immutable value, whose attributes come from the field registry.
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <sluice/spec.hpp>

#include "base/fail.hpp"
#include "base/nearest_name.hpp"
#include "bindings.hpp"
#include "spec/registry.hpp"
#include "spec_values.hpp"

namespace sluice::python {
namespace {

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

}  // namespace

void bind_spec(nb::module_& module) {
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
