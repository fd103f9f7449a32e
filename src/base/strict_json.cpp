#include "base/strict_json.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <vector>

#include "base/fail.hpp"
#include "base/shown.hpp"

namespace sluice {

using nlohmann::json;

namespace {

// `line 3, column 7, behind "top_k": `: where reading stopped. `byte` counts from 1.
std::string place(std::string_view text, std::size_t byte) {
  const std::string_view before = text.substr(0, byte > 0 ? byte - 1 : 0);
  const std::size_t last_feed = before.rfind('\n');
  const std::string_view line =
      before.substr(last_feed == std::string_view::npos ? 0 : last_feed + 1);
  constexpr std::size_t kShown = 24;
  std::string_view tail = line.substr(line.size() > kShown ? line.size() - kShown : 0);
  while (!tail.empty() && (static_cast<unsigned char>(tail[0]) & 0xc0) == 0x80) {
    tail.remove_prefix(1);  // to the start of a UTF-8 character
  }
  std::string where = fmt::format(
      "line {}, column {}", 1 + std::count(before.begin(), before.end(), '\n'), line.size() + 1);
  return tail.empty() ? where : where + ", behind " + shown(tail);
}

json parse(std::string_view text, const std::string& what, ErrorKind kind,
           const json::parser_callback_t& watch) {
  try {
    return json::parse(text, watch);
  } catch (const json::parse_error& error) {
    fail(kind, "{} is not JSON: it ends early or goes wrong at {}", what, place(text, error.byte));
  } catch (const json::exception&) {
    fail(kind, "{} is not usable JSON: it holds a number beyond the range of double", what);
  }
}

}  // namespace

json parse_json(std::string_view text, const std::string& what, ErrorKind kind) {
  return parse(text, what, kind, nullptr);
}

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
  json root = parse(text, what, kind, watch);
  if (!root.is_object()) fail(kind, "{} holds {}; an object is expected", what, root.type_name());
  return root;
}

std::string shown_value(const json& value) {
  std::string text = value.dump(-1, ' ', true);  // ASCII: it may be cut anywhere
  constexpr std::size_t kLongest = 80;
  return text.size() > kLongest ? text.substr(0, kLongest) + "…" : text;
}

}  // namespace sluice
