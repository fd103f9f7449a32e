// JSON in and out, driven by the registry: a field cannot be spelt here and nowhere else.
#include <cmath>
#include <nlohmann/json.hpp>

#include <sluice/presets.hpp>

#include "base/fail.hpp"
#include "base/nearest_name.hpp"
#include "base/strict_json.hpp"
#include "spec/registry.hpp"

namespace sluice {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kRoutingMethod = "routing_method";

std::string_view group_of(const Field& field) { return field.name.substr(0, field.name.find('.')); }

[[noreturn]] void wrong_type(std::string_view name, std::string_view wanted, const Json& got) {
  fail(ErrorKind::user, "{} is {}; give {}", name, shown_value(got), wanted);
}

std::int64_t read_integer(std::string_view name, const Json& json) {
  if (!json.is_number_integer() ||
      (json.is_number_unsigned() && json.get<std::uint64_t>() > INT64_MAX)) {
    wrong_type(name, "a whole number", json);
  }
  return json.get<std::int64_t>();
}

template <typename E>
void read(std::string_view name, const Json& json, E& value) requires std::is_enum_v<E> {
  constexpr auto& kNames = Choices<E>::kNames;
  const std::string text = json.is_string() ? json.get<std::string>() : json.dump();
  for (std::size_t i = 0; json.is_string() && i < kNames.size(); ++i) {
    if (kNames[i] == text) {
      value = static_cast<E>(i);
      return;
    }
  }
  fail(ErrorKind::user, "{} is \"{}\"; choose among {}{}", name, text, fmt::join(kNames, ", "),
       did_you_mean(text, kNames));
}

void read(std::string_view name, const Json& json, bool& value) {
  if (!json.is_boolean()) wrong_type(name, "true or false", json);
  value = json.get<bool>();
}

void read(std::string_view name, const Json& json, std::int64_t& value) {
  value = read_integer(name, json);
}

void read(std::string_view name, const Json& json, double& value) {
  if (!json.is_number()) wrong_type(name, "a number", json);
  value = json.get<double>();
  if (!std::isfinite(value)) wrong_type(name, "a finite number", json);
}

void read(std::string_view name, const Json& json, std::vector<std::int32_t>& value) {
  if (!json.is_array()) wrong_type(name, "a list of whole numbers", json);
  // Empty in memory means none; a file that says so is more likely one that lost its entries.
  if (json.empty()) wrong_type(name, "an entry per expert, or leave it out", json);
  value.clear();
  for (const Json& entry : json) {
    const std::int64_t number = read_integer(name, entry);
    if (number < -1 || number > INT32_MAX) wrong_type(name, "entries from -1 to 2^31 - 1", entry);
    value.push_back(static_cast<std::int32_t>(number));
  }
}

template <typename T>
Json write(const T& value) {
  if constexpr (std::is_enum_v<T>) {
    return choice_name(value);
  } else {
    return value;
  }
}

// Sets the member named group.key; false when there is none.
bool read_member(MoeSpec& spec, std::string_view group, std::string_view key, const Json& json) {
  bool found = false;
  for_each_row([&]<typename R>(const R& row) {
    if (group_of(row.field) != group || row.field.key != key) return;
    read(row.field.name, json, R::get(spec));
    found = true;
  });
  return found;
}

std::vector<std::string_view> keys_of(std::string_view group) {
  std::vector<std::string_view> keys;
  for (const Field& field : fields()) {
    if (group_of(field) == group) keys.push_back(field.key);
  }
  if (group == "router") keys.push_back(kRoutingMethod);
  return keys;
}

void read_group(MoeSpec& spec, std::string_view group, const Json& json) {
  if (!json.is_object()) wrong_type(group, "an object of fields", json);
  // The preset first, wherever it stands: its own fields are then overridden one by one.
  if (group == "router" && json.contains(kRoutingMethod)) {
    const Json& method = json[std::string(kRoutingMethod)];
    if (!method.is_string()) wrong_type("router.routing_method", "a method's name", method);
    routing_method(method.get<std::string>()).apply(spec.router);
  }
  for (const auto& [key, value] : json.items()) {
    if (group == "router" && key == kRoutingMethod) continue;
    if (!read_member(spec, group, key, value)) {
      fail(ErrorKind::user, "{} has no field \"{}\"{}", group, key,
           did_you_mean(key, keys_of(group)));
    }
  }
  // -1 is how memory says "all"; JSON says it by silence.
  if (group == "layer" && json.contains("num_local_experts") &&
      spec.layer.num_local_experts == kAllExperts) {
    fail(ErrorKind::user,
         "layer.num_local_experts is {}; give 0 … router.num_experts, or leave it out for all",
         kAllExperts);
  }
}

}  // namespace

MoeSpec parse_spec(const std::string& json_text) {
  constexpr std::array<std::string_view, 3> kGroups{"router", "experts", "layer"};
  const Json json = parse_json_object(json_text, "the spec", ErrorKind::user);
  MoeSpec spec;
  for (const auto& [key, value] : json.items()) {
    if (std::find(kGroups.begin(), kGroups.end(), key) == kGroups.end()) {
      fail(ErrorKind::user, "the spec has no group \"{}\"; its groups are router, experts, layer{}",
           key, did_you_mean(key, kGroups));
    }
    read_group(spec, key, value);
  }
  validate(spec);
  return spec;
}

std::string print_spec(const MoeSpec& spec) {
  nlohmann::ordered_json json;  // in the registry's order, which is how people read a layer
  for (const char* group : {"router", "experts", "layer"}) json[group] = Json::object();
  for_each_row([&]<typename R>(const R& row) {
    if (R::is_default(spec)) return;
    json[std::string(group_of(row.field))][std::string(row.field.key)] = write(R::get(spec));
  });
  return json.dump(2) + "\n";
}

}  // namespace sluice
