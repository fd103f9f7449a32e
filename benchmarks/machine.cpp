#include "machine.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <string_view>
#include <thread>

namespace sluice::bench {
namespace {

// The text after ':' of the first line that starts with `key`.
std::string value_of(const char* path, std::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const auto colon = line.find(':');
    if (!line.starts_with(key) || colon == std::string::npos) continue;
    const auto begin = line.find_first_not_of(" \t", colon + 1);
    return begin == std::string::npos ? "" : line.substr(begin);
  }
  return "";
}

constexpr double kUnknown = 1e18;

// The number that a file begins with, or that follows `key` in one of its lines.
double number_in(const std::filesystem::path& path, std::string_view key = {}) {
  std::ifstream file(path);
  double number = 0.0;
  if (key.empty()) return file >> number ? number : kUnknown;
  for (std::string name; file >> name >> number;) {
    if (name == key) return number;
  }
  return 0.0;
}

}  // namespace

double available_in_container(const std::filesystem::path& root) {
  const bool two = std::filesystem::exists(root / "memory.max");
  const auto folder = two ? root : root / "memory";
  // A limit of "max", or larger than any memory, is none.
  const double limit = number_in(folder / (two ? "memory.max" : "memory.limit_in_bytes"));
  const double used = number_in(folder / (two ? "memory.current" : "memory.usage_in_bytes"));
  if (limit >= kUnknown || used >= kUnknown) return kUnknown;
  const auto of_files = [&](const char* which) {
    return number_in(folder / "memory.stat", std::string(two ? "" : "total_") + which);
  };
  return std::max(0.0, limit - used + of_files("inactive_file") + of_files("active_file"));
}

std::string machine_name() {
  const std::string model = value_of("/proc/cpuinfo", "model name");
  return fmt::format("{}, {} cores", model.empty() ? "unknown processor" : model,
                     std::thread::hardware_concurrency());
}

double available_memory() {
  const std::string kilobytes = value_of("/proc/meminfo", "MemAvailable");
  const double machine = kilobytes.empty() ? kUnknown : std::stod(kilobytes) * 1024.0;
  return std::min(machine, available_in_container("/sys/fs/cgroup"));
}

}  // namespace sluice::bench
