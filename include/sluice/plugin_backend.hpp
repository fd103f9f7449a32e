// A backend from somebody else's shared object (<sluice/plugin.h>), as a Backend of ours.
#pragma once

#include <filesystem>
#include <memory>

#include <sluice/backend.hpp>

namespace sluice {

// Loads the shared object and keeps it loaded while the Backend lives. Throws Error(user) when the
// file is no plugin, speaks another SLUICE_PLUGIN_ABI, or claims a field that does not exist.
//
// The plugin's code runs in this process: `sluice audit --plugin` therefore runs in a child.
std::unique_ptr<Backend> load_plugin(const std::filesystem::path& shared_object);

}  // namespace sluice
