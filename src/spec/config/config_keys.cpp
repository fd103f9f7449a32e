#include "spec/config/config_keys.hpp"

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "base/fail.hpp"
#include "base/strict_json.hpp"
#include "spec/config/moe_keys.hpp"

namespace sluice::config {

using nlohmann::json;

namespace {

// Shown in messages: hostile values may be megabytes.
std::string shown(const json& value) {
  std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  constexpr std::size_t kLongest = 80;
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "...";
  return text;
}

struct Found {
  std::string_view name;
  const json* value = nullptr;
};

[[noreturn]] void wrong(const Found& found, std::string_view expected) {
  fail(ErrorKind::checkpoint, "config.json: {} is {}; {} is expected", found.name,
       shown(*found.value), expected);
}

[[noreturn]] void missing(const Key& key) {
  fail(ErrorKind::checkpoint,
       "config.json has no {}; the layer cannot be built without it, and no default is safe",
       fmt::join(key.names(), " or "));
}

std::int64_t as_integer(const Found& found) {
  const json& value = *found.value;
  if (!value.is_number_integer() ||
      (value.is_number_unsigned() && value.get<std::uint64_t>() > INT64_MAX)) {
    wrong(found, "a whole number");
  }
  return value.get<std::int64_t>();
}

}  // namespace

struct Keys::Document {
  json root;
  mutable std::set<std::string, std::less<>> read;

  const json* lookup(std::string_view path) const {
    const json* place = &root;
    while (true) {
      const auto dot = path.find('.');
      const auto found = place->find(path.substr(0, dot));
      if (found == place->end() || found->is_null()) return nullptr;
      if (dot == std::string_view::npos) return &*found;
      if (!found->is_object()) wrong({path.substr(0, dot), &*found}, "an object");
      place = &*found;
      path = path.substr(dot + 1);
    }
  }

  Found find(const Key& key) const {
    Found first;
    for (const std::string_view name : key.names()) {
      read.emplace(name);
      const json* value = lookup(name);
      if (value == nullptr) continue;
      if (first.value != nullptr && *first.value != *value) {
        fail(ErrorKind::checkpoint,
             "config.json: {} is {} but {} is {}; they are two names of one value", first.name,
             shown(*first.value), name, shown(*value));
      }
      if (first.value == nullptr) first = {name, value};
    }
    return first;
  }
};

Keys::Keys(const std::string& json_text) : document_(new Document) {
  document_->root = parse_json_object(json_text, "config.json", ErrorKind::checkpoint);
}

Keys::~Keys() = default;

bool Keys::has(const Key& key) const { return document_->find(key).value != nullptr; }

std::optional<std::int64_t> Keys::find_integer(const Key& key, std::int64_t least) const {
  const Found found = document_->find(key);
  if (found.value == nullptr) return std::nullopt;
  const std::int64_t number = as_integer(found);
  if (number < least) wrong(found, fmt::format("a whole number of at least {}", least));
  return number;
}

std::optional<double> Keys::find_real(const Key& key, double least) const {
  const Found found = document_->find(key);
  if (found.value == nullptr) return std::nullopt;
  if (!found.value->is_number()) wrong(found, "a number");
  const auto number = found.value->get<double>();
  if (!(number >= least) || !std::isfinite(number)) {
    wrong(found, fmt::format("a number of at least {}", least));
  }
  return number;
}

std::optional<bool> Keys::find_flag(const Key& key) const {
  const Found found = document_->find(key);
  if (found.value == nullptr) return std::nullopt;
  if (!found.value->is_boolean()) wrong(found, "true or false");
  return found.value->get<bool>();
}

std::optional<std::string> Keys::find_text(const Key& key) const {
  const Found found = document_->find(key);
  if (found.value == nullptr) return std::nullopt;
  if (!found.value->is_string()) wrong(found, "a string");
  return found.value->get<std::string>();
}

std::optional<std::vector<std::int64_t>> Keys::find_integers(const Key& key) const {
  const Found found = document_->find(key);
  if (found.value == nullptr) return std::nullopt;
  if (!found.value->is_array()) wrong(found, "a list of whole numbers");
  std::vector<std::int64_t> numbers;
  for (const json& entry : *found.value) numbers.push_back(as_integer({found.name, &entry}));
  return numbers;
}

std::optional<std::vector<std::string>> Keys::find_texts(const Key& key) const {
  const Found found = document_->find(key);
  if (found.value == nullptr) return std::nullopt;
  if (!found.value->is_array()) wrong(found, "a list of strings");
  std::vector<std::string> texts;
  for (const json& entry : *found.value) {
    if (!entry.is_string()) wrong(found, "a list of strings");
    texts.push_back(entry.get<std::string>());
  }
  return texts;
}

std::int64_t Keys::integer(const Key& key, std::int64_t least) const {
  const auto value = find_integer(key, least);
  if (!value) missing(key);
  return *value;
}

double Keys::real(const Key& key, double least) const {
  const auto value = find_real(key, least);
  if (!value) missing(key);
  return *value;
}

bool Keys::flag(const Key& key) const {
  const auto value = find_flag(key);
  if (!value) missing(key);
  return *value;
}

std::string Keys::text(const Key& key) const {
  auto value = find_text(key);
  if (!value) missing(key);
  return *std::move(value);
}

void Keys::only_text(const Key& key, std::string_view supported) const {
  const auto value = find_text(key);
  if (value && *value != supported) refuse(key, fmt::format("\"{}\" is supported", supported));
}

void Keys::only_flag(const Key& key, bool supported) const {
  const auto value = find_flag(key);
  if (value && *value != supported) refuse(key, fmt::format("{} is supported", supported));
}

void Keys::only_integer(const Key& key, std::int64_t supported) const {
  const auto value = find_integer(key, INT64_MIN);
  if (value && *value != supported) refuse(key, fmt::format("{} is supported", supported));
}

void Keys::refuse(const Key& key, std::string_view reason) const {
  const Found found = document_->find(key);
  fail(ErrorKind::checkpoint, "config.json: {} is {}, which changes what the layer computes; {}",
       found.name, shown(*found.value), reason);
}

void Keys::refuse_unread() const {
  std::vector<std::string> refused;
  for (const MoeKey& known : moe_keys()) {
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

}  // namespace sluice::config
