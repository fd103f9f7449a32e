#include "backends/plugin/shared_object.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <cstring>

#include "base/fail.hpp"

namespace sluice::plugin {

SharedObject::SharedObject(const std::filesystem::path& path)
    // An absolute path: dlopen would search a bare name in the system's folders.
    : path_(std::filesystem::absolute(path).string()) {
  handle_.reset(dlopen(path_.c_str(), RTLD_NOW | RTLD_LOCAL));
  if (!handle_) fail(ErrorKind::user, "cannot load the plugin {}: {}", path_, dlerror());
  void* symbol = dlsym(handle_.get(), SLUICE_PLUGIN_ENTRY);
  if (symbol == nullptr) {
    fail(ErrorKind::user, "{} exports no {}; see <sluice/plugin.h>", path_, SLUICE_PLUGIN_ENTRY);
  }
  const auto entry = reinterpret_cast<sluice_plugin_entry_fn>(symbol);
  const sluice_plugin* given = entry(SLUICE_PLUGIN_ABI);
  if (given == nullptr) {
    fail(ErrorKind::user, "the plugin {} cannot work with plugin ABI {}", path_, SLUICE_PLUGIN_ABI);
  }
  // Later versions append members, though not by the page: such a size was never sizeof.
  constexpr std::uint64_t kLargest = 4096;
  if (given->struct_size < sizeof given->struct_size || given->struct_size > kLargest) {
    fail(ErrorKind::user,
         "the plugin {} gives its sluice_plugin a struct_size of {}; it must be "
         "sizeof(sluice_plugin), {} here",
         path_, given->struct_size, sizeof plugin_);
  }
  std::memcpy(&plugin_, given, std::min<std::size_t>(given->struct_size, sizeof plugin_));
  if (plugin_.abi != SLUICE_PLUGIN_ABI) {
    fail(ErrorKind::user, "the plugin {} was built for plugin ABI {}, this is {}; rebuild it",
         path_, plugin_.abi, SLUICE_PLUGIN_ABI);
  }
  const auto required = [&](const char* name, bool given_member) {
    if (!given_member) fail(ErrorKind::user, "the plugin {} leaves {} null", path_, name);
  };
  required("name", plugin_.name != nullptr);
  required("claims", plugin_.claims != nullptr);
  required("load", plugin_.load != nullptr);
  required("unload", plugin_.unload != nullptr);
  required("forward", plugin_.forward != nullptr);
}

void SharedObject::Close::operator()(void* handle) const { dlclose(handle); }

}  // namespace sluice::plugin
