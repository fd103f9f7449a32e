#include "model/config_reader.hpp"

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/fail.hpp"
#include "base/strict_json.hpp"

namespace sluice {

using nlohmann::json;

namespace {

// Shown in messages: hostile values may be megabytes.
std::string shown(const json& value) {
  std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  constexpr std::size_t kLongest = 60;
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "…";
  return text;
}

const json* lookup(const json& root, std::string_view path) {
  const auto dot = path.find('.');
  const auto found = root.find(path.substr(0, dot));
  if (found == root.end() || found->is_null()) return nullptr;
  if (dot == std::string_view::npos) return &*found;
  if (!found->is_object()) {
    fail(ErrorKind::checkpoint, "config.json: {} is {}; an object is expected", path.substr(0, dot),
         shown(*found));
  }
  return lookup(*found, path.substr(dot + 1));
}

struct Found {
  std::string_view name;
  const json* value = nullptr;
};

[[noreturn]] void wrong_type(const Found& found, std::string_view expected) {
  fail(ErrorKind::checkpoint, "config.json: {} is {}; {} is expected", found.name,
       shown(*found.value), expected);
}

std::int64_t as_integer(const Found& found, std::int64_t least, std::int64_t most) {
  const json& value = *found.value;
  const bool fits = value.is_number_integer() &&
                    !(value.is_number_unsigned() && value.get<std::uint64_t>() > INT64_MAX);
  if (!fits) wrong_type(found, "a whole number");
  const auto number = value.get<std::int64_t>();
  if (number < least || number > most) {
    fail(ErrorKind::checkpoint, "config.json: {} is {}; it must lie between {} and {}", found.name,
         number, least, most);
  }
  return number;
}

std::string joined(const ConfigKey& key) {
  std::string text;
  for (const std::string_view name : key.names()) {
    if (!text.empty()) text += " or ";
    text += name;
  }
  return text;
}

[[noreturn]] void missing(const ConfigKey& key) {
  fail(ErrorKind::checkpoint, "config.json has no {}; the model cannot be built without it",
       joined(key));
}

[[noreturn]] void refuse(const Found& found, std::string_view supported) {
  fail(ErrorKind::checkpoint,
       "config.json: {} is {}, which changes the model's arithmetic in a way that is not "
       "implemented; supported: {}",
       found.name, shown(*found.value), supported);
}

}  // namespace

struct ConfigReader::Document {
  json root;

  Found find(const ConfigKey& key) const {
    Found first;
    for (const std::string_view name : key.names()) {
      const json* value = lookup(root, name);
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
  if (!(number >= least && number <= most)) {
    fail(ErrorKind::checkpoint, "config.json: {} is {}; it must lie between {} and {}", found.name,
         number, least, most);
  }
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
  for (const json& item : *found.value)
    numbers.push_back(as_integer({found.name, &item}, least, most));
  return numbers;
}

std::int64_t ConfigReader::integer(const ConfigKey& key, std::int64_t least,
                                   std::int64_t most) const {
  const auto number = find_integer(key, least, most);
  if (!number) missing(key);
  return *number;
}

double ConfigReader::real(const ConfigKey& key, double least, double most) const {
  const auto number = find_real(key, least, most);
  if (!number) missing(key);
  return *number;
}

std::string ConfigReader::text(const ConfigKey& key) const {
  auto value = find_text(key);
  if (!value) missing(key);
  return *std::move(value);
}

void ConfigReader::require_text(const ConfigKey& key, std::string_view only) const {
  const auto value = find_text(key);
  if (value && *value != only) refuse(document_->find(key), only);
}

void ConfigReader::require_flag(const ConfigKey& key, bool only) const {
  const auto value = find_flag(key);
  if (value && *value != only) refuse(document_->find(key), only ? "true" : "false");
}

void ConfigReader::require_real(const ConfigKey& key, double only) const {
  const auto value = find_real(key, -HUGE_VAL, HUGE_VAL);
  if (value && *value != only) refuse(document_->find(key), fmt::format("{}", only));
}

void ConfigReader::require_absent(const ConfigKey& key) const {
  const Found found = document_->find(key);
  if (found.value != nullptr) refuse(found, "null, or no such key");
}

void require_plain_decoder(const ConfigReader& config) {
  config.require_text("hidden_act", "silu");
  for (const char* key : {"attention_bias", "mlp_bias", "is_encoder_decoder"}) {
    config.require_flag(key, false);
  }
  for (const char* key : {"quantization_config", "compression_config", "attn_logit_softcapping",
                          "final_logit_softcapping"}) {
    config.require_absent(key);
  }
  for (const char* key : {"partial_rotary_factor", "rope_parameters.partial_rotary_factor",
                          "residual_multiplier", "logits_scaling"}) {
    config.require_real(key, 1.0);
  }
  config.require_text({"rope_parameters.rope_type"}, "default");
  config.require_text({"rope_parameters.type"}, "default");
  config.require_text({"rope_scaling.rope_type"}, "default");
  config.require_text({"rope_scaling.type"}, "default");
}

}  // namespace sluice
