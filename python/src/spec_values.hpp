// Python's values into a MoeSpec and back. They go through JSON, so that whatever exists in Python
// has been validated.
#pragma once

#include <nanobind/nanobind.h>

#include <sluice/spec.hpp>

namespace sluice::python {

namespace nb = nanobind;

// The argument that is no field: shorthand for a preset's.
inline constexpr const char* kRoutingMethod = "routing_method";

// {"router": {…}, "experts": {…}, "layer": {…}}
MoeSpec from_dict(const nb::dict& groups);
nb::dict to_dict(const MoeSpec& spec);

// Fields by name, beside those in `groups`, or in place of `spec`'s.
MoeSpec with_fields(nb::dict groups, const nb::kwargs& changes);
MoeSpec replace(const MoeSpec& spec, const nb::kwargs& changes);

}  // namespace sluice::python
