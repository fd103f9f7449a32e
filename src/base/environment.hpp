// Environment variables; docs/environment.md lists every one that Sluice reads.
#pragma once

#include <optional>
#include <string>

namespace sluice {

// nullopt when unset or empty.
std::optional<std::string> environment(const char* name);

}  // namespace sluice
