// Enumerations that hold no value of their own: a C++ caller may cast any number into one.
#pragma once

#include <sluice/spec.hpp>

#include "base/problems.hpp"

namespace sluice {

void find_stray_choices(const MoeSpec& spec, Problems& problems);

}  // namespace sluice
