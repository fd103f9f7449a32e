// MoeSpec -> sluice_spec, field by field, checked against the registry when it is compiled.
#pragma once

#include <sluice/plugin.h>
#include <sluice/spec.hpp>

namespace sluice::plugin {

// Derived values are resolved: shared width and number of local experts. The expert map points into
// `spec`, which must outlive the result.
sluice_spec to_c(const MoeSpec& spec);

}  // namespace sluice::plugin
