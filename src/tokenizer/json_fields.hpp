// Checked reading of the JSON of tokenizer files: every error names the field by its path.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>

namespace sluice::tokenizer {

using Json = nlohmann::json;

// Throws Error(checkpoint) naming `file` for damaged JSON or more than `max_bytes`.
Json parse_json(std::string_view text, std::string_view file, std::size_t max_bytes);

// One JSON object. Fields that nobody asked for are refused at the end: they could mean anything.
class Fields {
 public:
  Fields(const Json& object, std::string path);  // throws Error(checkpoint) unless it is an object
  const std::string& path() const { return path_; }
  std::string path(std::string_view name) const;

  const Json* find(std::string_view name);     // nullptr: absent or null
  const Json& require(std::string_view name);  // throws Error(checkpoint) when absent or null
  const Json& array(std::string_view name);    // required
  std::string text(std::string_view name);     // required
  std::optional<std::string> text_or_null(std::string_view name);
  bool flag(std::string_view name);  // required
  bool flag(std::string_view name, bool absent);
  std::int64_t integer(std::string_view name);  // required
  void ignore(std::string_view name) { asked_.emplace(name); }
  void refuse_others() const;  // throws Error(unsupported) naming the fields not asked for

 private:
  const Json& object_;
  std::string path_;
  std::set<std::string, std::less<>> asked_;
};

[[noreturn]] void fail_type(std::string_view path, std::string_view expected, const Json& found);

}  // namespace sluice::tokenizer
