// The definition: double precision, every field, one token at a time, no cleverness.
#pragma once

#include <sluice/backend.hpp>

namespace sluice {

const Backend& reference_backend();

}  // namespace sluice
