// dlopen with an owner, and the plugin's own description checked before anything calls it.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include <sluice/plugin.h>

namespace sluice::plugin {

class SharedObject {
 public:
  // Throws Error(user) naming the file and what is wrong with it.
  explicit SharedObject(const std::filesystem::path& path);
  const sluice_plugin& plugin() const { return plugin_; }
  const std::string& path() const { return path_; }

 private:
  struct Close {
    void operator()(void* handle) const;
  };
  std::string path_;
  std::unique_ptr<void, Close> handle_;
  // A copy of as much as the plugin's struct_size says; members beyond it stay null.
  sluice_plugin plugin_{};
};

}  // namespace sluice::plugin
