// What module.cpp calls: one function per topic, each in its own file.
#pragma once

#include <nanobind/nanobind.h>

namespace sluice::python {

namespace nb = nanobind;

void bind_errors(nb::module_& module);
void bind_field(nb::module_& module);
void bind_spec(nb::module_& module);
void bind_presets(nb::module_& module);
void bind_tensor(nb::module_& module);
void bind_backends(nb::module_& module);
void bind_callable_backend(nb::module_& module);
void bind_layer(nb::module_& module);
void bind_oracle(nb::module_& module);
void bind_audit(nb::module_& module);
void bind_unlocked(nb::module_& module);

}  // namespace sluice::python
