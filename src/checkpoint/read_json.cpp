#include "checkpoint/read_json.hpp"

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "base/fail.hpp"
#include "checkpoint/shown.hpp"

namespace sluice {

using nlohmann::json;

std::string read_text(const std::filesystem::path& path) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  if (error) {
    fail(ErrorKind::checkpoint, "{} cannot be read: {}", path.string(), error.message());
  }
  if (size > kLongestJson) {
    fail(ErrorKind::checkpoint, "{} has {} bytes; {} is the limit", path.string(), size,
         kLongestJson);
  }
  std::string text(size, '\0');
  std::ifstream file(path, std::ios::binary);
  file.read(text.data(), static_cast<std::streamsize>(size));
  if (!file) fail(ErrorKind::checkpoint, "{} cannot be read", path.string());
  return text;
}

json parse_json_object(const std::string& text, const std::string& name) {
  // nlohmann keeps the last of two equal keys; a value written twice is a value lost.
  std::vector<std::set<std::string>> open;
  const json::parser_callback_t watch = [&](int depth, json::parse_event_t event, json& parsed) {
    constexpr int kDeepest = 64;
    if (depth > kDeepest) {
      fail(ErrorKind::checkpoint, "{} nests deeper than {} levels", name, kDeepest);
    }
    if (event == json::parse_event_t::object_start) open.emplace_back();
    if (event == json::parse_event_t::object_end) open.pop_back();
    if (event == json::parse_event_t::key &&
        !open.back().insert(parsed.get<std::string>()).second) {
      fail(ErrorKind::checkpoint, "{} gives {} twice", name, shown(parsed.get<std::string>()));
    }
    return true;
  };
  json root;
  try {
    root = json::parse(text, watch);
  } catch (const json::exception& error) {
    fail(ErrorKind::checkpoint, "{} is not JSON: {}", name, error.what());
  }
  if (!root.is_object()) {
    fail(ErrorKind::checkpoint, "{} holds {}; an object is expected", name, root.type_name());
  }
  return root;
}

}  // namespace sluice
