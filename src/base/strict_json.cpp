#include "base/strict_json.hpp"

#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "base/fail.hpp"
#include "base/shown.hpp"

namespace sluice {

using nlohmann::json;

json parse_json_object(const std::string& text, const std::string& what, ErrorKind kind) {
  std::vector<std::set<std::string>> open;
  const json::parser_callback_t watch = [&](int depth, json::parse_event_t event, json& parsed) {
    constexpr int kDeepest = 64;
    if (depth > kDeepest) fail(kind, "{} nests deeper than {} levels", what, kDeepest);
    if (event == json::parse_event_t::object_start) open.emplace_back();
    if (event == json::parse_event_t::object_end) open.pop_back();
    if (event == json::parse_event_t::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!open.back().insert(key).second) fail(kind, "{} gives {} twice", what, shown(key));
    }
    return true;
  };
  json root;
  try {
    root = json::parse(text, watch);
  } catch (const json::exception& error) {
    fail(kind, "{} is not JSON: {}", what, shown(error.what()));
  }
  if (!root.is_object()) fail(kind, "{} holds {}; an object is expected", what, root.type_name());
  return root;
}

}  // namespace sluice
