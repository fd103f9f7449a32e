#include <sluice/presets.hpp>

#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>

#include "base/fail.hpp"
#include "bindings.hpp"

namespace sluice::python {

void bind_presets(nb::module_& module) {
  nb::class_<RoutingMethod>(module, "RoutingMethod",
                            "A named routing method, in FlashInfer's and vLLM's spelling.")
      .def_ro("name", &RoutingMethod::name)
      .def_ro("formula", &RoutingMethod::formula)
      .def(
          "apply",
          [](const RoutingMethod& method, const MoeSpec& spec) {
            MoeSpec changed = spec;
            method.apply(changed.router);
            validate(changed);
            return changed;
          },
          nb::arg("spec"),
          "A copy of the spec with the method's fields; sizes, groups and the factor stay.")
      .def("__repr__", [](const RoutingMethod& method) {
        return fmt::format("sluice.RoutingMethod({}: {})", method.name, method.formula);
      });
  module.def("routing_method", &routing_method, nb::arg("name"), nb::rv_policy::reference,
             "The method of that name. Raises Error (user) with the nearest known name.");
  module.def(
      "routing_methods",
      [] {
        nb::list list;
        for (const RoutingMethod& method : routing_methods()) {
          list.append(nb::cast(&method, nb::rv_policy::reference));
        }
        return list;
      },
      nb::sig("def routing_methods() -> list[RoutingMethod]"), "All named routing methods.");

  nb::class_<Family>(module, "Family", "One MoE layer of a released model.")
      .def_ro("name", &Family::name)
      .def_ro("meaning", &Family::meaning)
      .def_ro("spec", &Family::spec)
      .def("__repr__", [](const Family& family) {
        return fmt::format("sluice.Family({}: {})", family.name, family.meaning);
      });
  module.def("family", &family, nb::arg("name"), nb::rv_policy::reference,
             "The family of that name. Raises Error (user) with the nearest known name.");
  module.def(
      "families",
      [] {
        nb::list list;
        for (const Family& known : families()) {
          list.append(nb::cast(&known, nb::rv_policy::reference));
        }
        return list;
      },
      nb::sig("def families() -> list[Family]"), "All released models that are known by name.");
  module.def("spec_from_config", &spec_from_config, nb::arg("text"),
             "The spec of a model's MoE layers from the text of its config.json. Raises Error "
             "(checkpoint) for an unknown model_type and for missing or contradicting keys.");
}

}  // namespace sluice::python
