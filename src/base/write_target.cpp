#include "base/write_target.hpp"

#include <string>
#include <system_error>

namespace sluice {

namespace fs = std::filesystem;

namespace {

constexpr int kMostLinks = 40;  // as the kernel

fs::path directory_of(const fs::path& path) {
  std::error_code error;
  return fs::weakly_canonical(fs::absolute(path, error).parent_path(), error);
}

// The end of a chain of links. Not of those in /proc, which stand for open files.
fs::path last_name(fs::path path) {
  for (int link = 0; link < kMostLinks; ++link) {
    if (directory_of(path).string().starts_with("/proc/")) break;
    std::error_code no_link;
    const fs::path next = fs::read_symlink(path, no_link);
    if (no_link) break;
    path = next.is_absolute() ? next : path.parent_path() / next;
  }
  return path;
}

}  // namespace

WriteTarget write_target(const fs::path& path) {
  WriteTarget target{last_name(path), false};
  std::error_code error;
  const fs::file_status status = fs::status(target.path, error);
  target.in_place = fs::exists(status) && (!fs::is_regular_file(status) ||
                                           fs::is_symlink(fs::symlink_status(target.path, error)));
  return target;
}

bool is_standard_output(const fs::path& path) {
  const fs::path last = last_name(path);
  return last.filename() == "1" && directory_of(last) == directory_of("/proc/self/fd/1");
}

}  // namespace sluice
