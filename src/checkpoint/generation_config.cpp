#include <cmath>
#include <nlohmann/json.hpp>

#include <sluice/checkpoint.hpp>
#include <sluice/generation_config.hpp>

#include "base/fail.hpp"
#include "base/in_file.hpp"
#include "base/strict_json.hpp"

namespace sluice {
namespace {

using nlohmann::json;

[[noreturn]] void refuse(const char* key, const json& value, const char* expected) {
  fail(ErrorKind::checkpoint, "{} is {}; {} is expected", key, shown_value(value), expected);
}

// nullptr: absent or null, which mean the same here.
const json* lookup(const json& root, const char* key) {
  const auto found = root.find(key);
  return found == root.end() || found->is_null() ? nullptr : &*found;
}

// Some configs write -1 for "no such token".
const json* lookup_id(const json& root, const char* key) {
  const json* value = lookup(root, key);
  return value != nullptr && *value == -1 ? nullptr : value;
}

constexpr const char* kTokenId = "a token id (0 or more)";

std::int64_t token_id(const char* key, const json& value) {
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() > INT32_MAX) {
    refuse(key, value, kTokenId);
  }
  return value.get<std::int64_t>();
}

std::vector<std::int64_t> token_ids(const json& root, const char* key) {
  const json* value = lookup_id(root, key);
  if (value == nullptr) return {};
  if (!value->is_array()) return {token_id(key, *value)};
  std::vector<std::int64_t> ids;
  for (const json& entry : *value) ids.push_back(token_id(key, entry));
  return ids;
}

std::optional<std::int64_t> optional_token_id(const json& root, const char* key) {
  const json* value = lookup_id(root, key);
  if (value == nullptr) return std::nullopt;
  return token_id(key, *value);
}

std::optional<double> real(const json& root, const char* key, double least, double most,
                           const char* expected) {
  const json* value = lookup(root, key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) refuse(key, *value, expected);
  const auto number = value->get<double>();
  if (!(number >= least && number <= most)) refuse(key, *value, expected);
  return number;
}

GenerationConfig from_json(const json& root) {
  GenerationConfig config;
  config.eos_token_ids = token_ids(root, "eos_token_id");
  config.bos_token_id = optional_token_id(root, "bos_token_id");
  config.pad_token_id = optional_token_id(root, "pad_token_id");
  if (const json* value = lookup(root, "do_sample")) {
    if (!value->is_boolean()) refuse("do_sample", *value, "true or false");
    config.do_sample = value->get<bool>();
  }
  constexpr double kMostTemperature = 1e6;
  config.temperature = real(root, "temperature", 0.0, kMostTemperature, "a number of 0 or more");
  config.top_p = real(root, "top_p", 0.0, 1.0, "a number between 0 and 1");
  config.min_p = real(root, "min_p", 0.0, 1.0, "a number between 0 and 1");
  if (const json* value = lookup(root, "top_k")) {
    if (!value->is_number_unsigned() || value->get<std::uint64_t>() > INT32_MAX) {
      refuse("top_k", *value, "a whole number (0: no limit)");
    }
    config.top_k = value->get<std::int64_t>();
  }
  return config;
}

// What the model's own config says where the generation's says nothing.
void fill_ids(GenerationConfig& config, const json& model) {
  if (config.eos_token_ids.empty()) config.eos_token_ids = token_ids(model, "eos_token_id");
  if (!config.bos_token_id) config.bos_token_id = optional_token_id(model, "bos_token_id");
  if (!config.pad_token_id) config.pad_token_id = optional_token_id(model, "pad_token_id");
}

}  // namespace

GenerationConfig parse_generation_config(const std::string& json_text) {
  constexpr const char* kFile = "generation_config.json";
  const json root = parse_json_object(json_text, kFile, ErrorKind::checkpoint);
  return in_file(kFile, [&] { return from_json(root); });
}

GenerationConfig generation_config(const Checkpoint& checkpoint) {
  GenerationConfig config;
  if (const auto text = checkpoint.generation_config_text()) {
    config = parse_generation_config(*text);
  }
  constexpr const char* kFile = "config.json";
  const json model = parse_json_object(checkpoint.config_text(), kFile, ErrorKind::checkpoint);
  in_file(kFile, [&] { fill_ids(config, model); });
  return config;
}

}  // namespace sluice
