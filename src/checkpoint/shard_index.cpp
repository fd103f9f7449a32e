#include "checkpoint/shard_index.hpp"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/fail.hpp"
#include "base/problems.hpp"
#include "base/shown.hpp"
#include "base/strict_json.hpp"

namespace sluice {
namespace {

// No directory part in any spelling, no NUL (paths end there), no "..".
bool is_plain_name(const std::string& file) {
  return !file.empty() && file != "." && file != ".." &&
         file.find_first_of(std::string("/\\\0", 3)) == std::string::npos;
}

}  // namespace

std::map<std::string, std::string> parse_shard_index(const std::string& json_text) {
  const nlohmann::json root = parse_json_object(json_text, kIndexName, ErrorKind::checkpoint);
  const auto found = root.find("weight_map");
  if (found == root.end() || !found->is_object()) {
    fail(ErrorKind::checkpoint, "{} has no object weight_map", kIndexName);
  }
  std::map<std::string, std::string> files;
  Problems problems;
  for (const auto& [name, file] : found->items()) {
    if (!file.is_string()) {
      problems.add("{} is mapped to {}, not to a file's name", shown(name), file.type_name());
    } else if (!is_plain_name(file.get_ref<const std::string&>())) {
      problems.add("{} is mapped to {}, which is not the name of a file in the directory",
                   shown(name), shown(file.get_ref<const std::string&>()));
    } else {
      files.emplace(name, file.get<std::string>());
    }
  }
  problems.raise(ErrorKind::checkpoint, kIndexName);
  return files;
}

}  // namespace sluice
