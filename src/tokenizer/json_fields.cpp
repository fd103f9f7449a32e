#include "tokenizer/json_fields.hpp"

#include <utility>

#include "base/fail.hpp"
#include "base/strict_json.hpp"
#include "tokenizer/utf8.hpp"

namespace sluice::tokenizer {

void fail_type(std::string_view path, std::string_view expected, const Json& found) {
  std::string value = found.is_structured()
                          ? found.type_name()
                          : found.dump(-1, ' ', false, Json::error_handler_t::replace);
  fail(ErrorKind::checkpoint, "{} must be {}; it is {}", path, expected, shown(value));
}

Json parse_json(std::string_view text, std::string_view file, std::size_t max_bytes) {
  if (text.size() > max_bytes) {
    fail(ErrorKind::checkpoint, "{} has {} bytes; the limit is {}", file, text.size(), max_bytes);
  }
  return sluice::parse_json(text, std::string(file), ErrorKind::checkpoint);
}

Fields::Fields(const Json& object, std::string path) : object_(object), path_(std::move(path)) {
  if (!object.is_object()) fail_type(path_.empty() ? "its root" : path_, "an object", object);
}

std::string Fields::path(std::string_view name) const {
  return path_.empty() ? std::string(name) : path_ + "." + std::string(name);
}

const Json* Fields::find(std::string_view name) {
  asked_.emplace(name);
  const auto field = object_.find(name);
  return field == object_.end() || field->is_null() ? nullptr : &*field;
}

const Json& Fields::require(std::string_view name) {
  const Json* field = find(name);
  if (field == nullptr) fail(ErrorKind::checkpoint, "{} is missing", path(name));
  return *field;
}

const Json& Fields::array(std::string_view name) {
  const Json& field = require(name);
  if (!field.is_array()) fail_type(path(name), "an array", field);
  return field;
}

std::string Fields::text(std::string_view name) {
  const Json& field = require(name);
  if (!field.is_string()) fail_type(path(name), "a string", field);
  return field.get<std::string>();
}

std::optional<std::string> Fields::text_or_null(std::string_view name) {
  return find(name) == nullptr ? std::nullopt : std::optional(text(name));
}

bool Fields::flag(std::string_view name) {
  const Json& field = require(name);
  if (!field.is_boolean()) fail_type(path(name), "true or false", field);
  return field.get<bool>();
}

bool Fields::flag(std::string_view name, bool absent) {
  return find(name) == nullptr ? absent : flag(name);
}

std::int64_t Fields::integer(std::string_view name) {
  const Json& field = require(name);
  const bool too_large = field.is_number_unsigned() && field.get<std::uint64_t>() > INT64_MAX;
  if (!field.is_number_integer() || too_large) fail_type(path(name), "an integer", field);
  return field.get<std::int64_t>();
}

void Fields::refuse_others() const {
  for (const auto& [name, value] : object_.items()) {
    if (value.is_null() || asked_.contains(name)) continue;
    fail(ErrorKind::unsupported, "{} is not a field that Sluice's tokenizer knows",
         shown(path(name)));
  }
}

}  // namespace sluice::tokenizer
