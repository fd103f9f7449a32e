// Backends: ours, plugins, and faulty ones made on purpose.
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/unique_ptr.h>

#include <sluice/audit.hpp>
#include <sluice/plugin_backend.hpp>

#include "base/fail.hpp"
#include "bindings.hpp"
#include "values.hpp"

namespace sluice::python {
namespace {

nb::list claim_list(const Backend& backend) {
  nb::list names;
  const FieldSet claims = backend.claims();
  for (const Field& field : fields()) {
    if (claims.contains(field.name)) names.append(nb::cast(field.name));
  }
  return names;
}

nb::dict refusals(const Backend& backend, const MoeSpec& spec) {
  nb::dict reasons;
  for (const Refusal& refusal : negotiate(backend, spec).refusals) {
    reasons[text(refusal.field)] = text(refusal.reason);
  }
  return reasons;
}

void bind_faults(nb::module_& module) {
  nb::class_<MutantInfo>(module, "Mutant", "One row of docs/lost-parameters.md.")
      .def_ro("name", &MutantInfo::name, "What inject() takes.")
      .def_prop_ro(
          "bug_class", [](const MutantInfo& mutant) { return std::string(1, mutant.bug_class); },
          "\"A\" … \"Q\".")
      .def_ro("meaning", &MutantInfo::meaning, "Completes \"behaves as if …\".")
      .def_ro("cases", &MutantInfo::cases, "Public reports: \"vllm#43769, sglang#8364\".")
      .def("__repr__", [](const MutantInfo& mutant) {
        return fmt::format("sluice.Mutant({}: behaves as if {})", mutant.name, mutant.meaning);
      });
  module.def(
      "mutants",
      [] {
        nb::list list;
        for (const MutantInfo& mutant : mutants()) {
          list.append(nb::cast(&mutant, nb::rv_policy::reference));
        }
        return list;
      },
      nb::sig("def mutants() -> list[Mutant]"),
      "Ways to be wrong, each a public bug, that inject() makes of a right backend.");
}

}  // namespace

void bind_backends(nb::module_& module) {
  nb::class_<Backend>(module, "Backend", "What computes a layer, and what it claims to honour.")
      .def_prop_ro("name", [](const Backend& backend) { return text(backend.name()); })
      .def_prop_ro("unavailable", &Backend::unavailable,
                   "Why it cannot be used on this machine; None if it can.")
      .def_prop_ro("claims", &claim_list, nb::sig("def claims(self) -> list[str]"),
                   "Full names of the fields that it says it honours.")
      .def_prop_ro("batch_invariant", &Backend::batch_invariant)
      .def(
          "refusals", &refusals, nb::arg("spec"),
          nb::sig("def refusals(self, spec: MoeSpec) -> dict[str, str]"),
          "Every field of the spec that it refuses, with the reason. Empty: it computes the layer.")
      .def("__repr__", [](const Backend& backend) {
        return text(fmt::format("sluice.Backend({})", backend.name()));
      });
  module.def("backend", &backend, nb::arg("name"), nb::rv_policy::reference,
             "The backend of that name. Raises Error (user) with the known names.");
  module.def(
      "backends",
      [] {
        nb::list list;
        for (const Backend* known : backends()) {
          list.append(nb::cast(known, nb::rv_policy::reference));
        }
        return list;
      },
      nb::sig("def backends() -> list[Backend]"), "Fastest first, reference last.");
  module.def("load_plugin", &load_plugin, nb::arg("path"),
             "A backend from a shared object (include/sluice/plugin.h). Its code runs in this "
             "process. Raises Error (user) when the file is no plugin.");
  bind_faults(module);
  module.def("inject", &inject, nb::arg("backend"), nb::arg("fault"), nb::keep_alive<0, 1>(),
             R"(The backend, wrong in exactly one way, claiming what it claimed.

"drop:FIELD"   the field is accepted and never reaches the arithmetic
"double:FIELD" the field is applied twice
NAME           a mutant of mutants()

Raises Error (user) with the nearest known name.)");
}

}  // namespace sluice::python
