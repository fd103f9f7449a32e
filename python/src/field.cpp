// The field registry, as Python sees it.
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>

#include <sluice/fields.hpp>

#include "base/fail.hpp"
#include "bindings.hpp"

namespace sluice::python {
namespace {

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

}  // namespace

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

}  // namespace sluice::python
