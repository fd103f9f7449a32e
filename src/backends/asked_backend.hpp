// Who was asked for by name: one rule for the library and for verbs that choose without a spec.
#pragma once

#include <string>
#include <string_view>

namespace sluice {

// `given`, or SLUICE_BACKEND where it is empty; empty: nobody was asked for.
std::string asked_backend(std::string_view given);

}  // namespace sluice
