// The CPU backend: packed weights, one schedule, the best instruction set present (SLUICE_ISA).
#pragma once

#include <sluice/backend.hpp>

namespace sluice {

const Backend& cpu_backend();

}  // namespace sluice
