#include "spec/config/config_reader.hpp"

#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>

#include "base/fail.hpp"
#include "base/strict_json.hpp"
#include "spec/config/moe_keys.hpp"

namespace sluice {

using nlohmann::json;

namespace {

// Shown in messages: hostile values may be megabytes.
std::string shown(const json& value) {
  std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  constexpr std::size_t kLongest = 80;
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "…";
  return text;
}

struct Found {
  std::string_view name;
  const json* value = nullptr;
};

[[noreturn]] void wrong_type(const Found& found, std::string_view expected) {
  fail(ErrorKind::checkpoint, "config.json: {} is {}; {} is expected", found.name,
       shown(*found.value), expected);
}

template <typename T>
void check_range(const Found& found, T number, T least, T most) {
  if (number >= least && number <= most) return;  // NaN is in no range
  fail(ErrorKind::checkpoint, "config.json: {} is {}; it must lie between {} and {}", found.name,
       shown(*found.value), least, most);
}

std::int64_t as_integer(const Found& found, std::int64_t least, std::int64_t most) {
  const json& value = *found.value;
  if (!value.is_number_integer()) wrong_type(found, "a whole number");
  const bool huge = value.is_number_unsigned() && value.get<std::uint64_t>() > INT64_MAX;
  const std::int64_t number = huge ? INT64_MAX : value.get<std::int64_t>();
  check_range(found, number, least, most);
  return number;
}

[[noreturn]] void missing(const ConfigKey& key) {
  fail(ErrorKind::checkpoint,
       "config.json has no {}; nothing can be built without it, and no default is safe",
       fmt::join(key.names(), " or "));
}

template <typename T>
T required(std::optional<T> value, const ConfigKey& key) {
  if (!value) missing(key);
  return *std::move(value);
}

}  // namespace

struct ConfigReader::Document {
  json root;
  mutable std::set<std::string, std::less<>> read;

  const json* lookup(std::string_view path) const {
    const json* place = &root;
    while (true) {
      const auto dot = path.find('.');
      const auto found = place->find(path.substr(0, dot));
      if (found == place->end() || found->is_null()) return nullptr;
      if (dot == std::string_view::npos) return &*found;
      if (!found->is_object()) wrong_type({path.substr(0, dot), &*found}, "an object");
      place = &*found;
      path = path.substr(dot + 1);
    }
  }

  Found find(const ConfigKey& key) const {
    Found first;
    for (const std::string_view name : key.names()) {
      read.emplace(name);
      const json* value = lookup(name);
      if (value == nullptr) continue;
      if (first.value != nullptr && *first.value != *value) {
        fail(ErrorKind::checkpoint, "config.json: {} is {} but {} is {}; they mean the same value",
             first.name, shown(*first.value), name, shown(*value));
      }
      if (first.value == nullptr) first = {name, value};
    }
    return first;
  }
};

ConfigReader::ConfigReader(const std::string& json_text) : document_(new Document) {
  document_->root = parse_json_object(json_text, "config.json", ErrorKind::checkpoint);
}

ConfigReader::~ConfigReader() = default;
ConfigReader::ConfigReader(ConfigReader&&) noexcept = default;

bool ConfigReader::has(const ConfigKey& key) const { return document_->find(key).value != nullptr; }

std::optional<std::int64_t> ConfigReader::find_integer(const ConfigKey& key, std::int64_t least,
                                                       std::int64_t most) const {
  const Found found = document_->find(key);
  if (found.value == nullptr) return std::nullopt;
  return as_integer(found, least, most);
}

std::optional<double> ConfigReader::find_real(const ConfigKey& key, double least,
                                              double most) const {
  const Found found = document_->find(key);
  if (found.value == nullptr) return std::nullopt;
  if (!found.value->is_number()) wrong_type(found, "a number");
  const auto number = found.value->get<double>();
  check_range(found, number, least, most);
  return number;
}

std::optional<bool> ConfigReader::find_flag(const ConfigKey& key) const {
  const Found found = document_->find(key);
  if (found.value == nullptr) return std::nullopt;
  if (!found.value->is_boolean()) wrong_type(found, "true or false");
  return found.value->get<bool>();
}

std::optional<std::string> ConfigReader::find_text(const ConfigKey& key) const {
  const Found found = document_->find(key);
  if (found.value == nullptr) return std::nullopt;
  if (!found.value->is_string()) wrong_type(found, "a string");
  return found.value->get<std::string>();
}

std::optional<std::vector<std::string>> ConfigReader::find_texts(const ConfigKey& key) const {
  const Found found = document_->find(key);
  if (found.value == nullptr) return std::nullopt;
  if (!found.value->is_array()) wrong_type(found, "a list of strings");
  std::vector<std::string> texts;
  for (const json& item : *found.value) {
    if (!item.is_string()) wrong_type(found, "a list of strings");
    texts.push_back(item.get<std::string>());
  }
  return texts;
}

std::optional<std::vector<std::int64_t>> ConfigReader::find_integers(const ConfigKey& key,
                                                                     std::int64_t least,
                                                                     std::int64_t most) const {
  const Found found = document_->find(key);
  if (found.value == nullptr) return std::nullopt;
  if (!found.value->is_array()) wrong_type(found, "a list of whole numbers");
  std::vector<std::int64_t> numbers;
  for (const json& item : *found.value) {
    numbers.push_back(as_integer({found.name, &item}, least, most));
  }
  return numbers;
}

std::int64_t ConfigReader::integer(const ConfigKey& key, std::int64_t least,
                                   std::int64_t most) const {
  return required(find_integer(key, least, most), key);
}

double ConfigReader::real(const ConfigKey& key, double least, double most) const {
  return required(find_real(key, least, most), key);
}

bool ConfigReader::flag(const ConfigKey& key) const { return required(find_flag(key), key); }

std::string ConfigReader::text(const ConfigKey& key) const { return required(find_text(key), key); }

void ConfigReader::refuse(const ConfigKey& key, std::string_view supported) const {
  const Found found = document_->find(key);
  fail(ErrorKind::checkpoint,
       "config.json: {} is {}, which changes the model's arithmetic in a way that is not "
       "implemented; supported: {}",
       found.name, shown(*found.value), supported);
}

void ConfigReader::require_text(const ConfigKey& key, std::string_view only) const {
  const auto value = find_text(key);
  if (value && *value != only) refuse(key, only);
}

void ConfigReader::require_flag(const ConfigKey& key, bool only) const {
  const auto value = find_flag(key);
  if (value && *value != only) refuse(key, only ? "true" : "false");
}

void ConfigReader::require_integer(const ConfigKey& key, std::int64_t only) const {
  const auto value = find_integer(key, INT64_MIN, INT64_MAX);
  if (value && *value != only) refuse(key, fmt::format("{}", only));
}

void ConfigReader::require_real(const ConfigKey& key, double only) const {
  const auto value = find_real(key, -HUGE_VAL, HUGE_VAL);
  if (value && *value != only) refuse(key, fmt::format("{}", only));
}

void ConfigReader::require_absent(const ConfigKey& key) const {
  if (has(key)) refuse(key, "null, or no such key");
}

void ConfigReader::refuse_unread_moe_keys() const {
  std::vector<std::string> refused;
  for (const config::MoeKey& known : config::moe_keys()) {
    if (document_->read.contains(known.name)) continue;
    const json* value = document_->lookup(known.name);
    if (value == nullptr || *value == json::parse(known.neutral)) continue;
    refused.push_back(fmt::format("{} is {}", known.name, shown(*value)));
  }
  if (refused.empty()) return;
  fail(ErrorKind::checkpoint,
       "config.json has keys that change what a MoE layer computes, and that this model_type is "
       "not known to have: {}; they are refused rather than ignored",
       fmt::join(refused, ", "));
}

}  // namespace sluice
