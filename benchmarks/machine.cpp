#include "machine.hpp"

#include <fmt/format.h>

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

}  // namespace

std::string machine_name() {
  const std::string model = value_of("/proc/cpuinfo", "model name");
  return fmt::format("{}, {} cores", model.empty() ? "unknown processor" : model,
                     std::thread::hardware_concurrency());
}

double available_memory() {
  const std::string kilobytes = value_of("/proc/meminfo", "MemAvailable");
  return kilobytes.empty() ? 1e18 : std::stod(kilobytes) * 1024.0;
}

}  // namespace sluice::bench
