// config.json, read with type and range checks: its values are hostile until they passed here.
// Every error is Error(checkpoint), names the key and shows the value.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

// The names that one value goes by in different dialects. Where a file has several of them, they
// must agree.
class ConfigKey {
 public:
  ConfigKey(const char* name) : names_{name} {}  // NOLINT(google-explicit-constructor)
  ConfigKey(std::initializer_list<std::string_view> names) : names_(names) {}
  const std::vector<std::string_view>& names() const { return names_; }

 private:
  std::vector<std::string_view> names_;  // "linear_attn_config.num_heads": a key of an object
};

class ConfigReader {
 public:
  explicit ConfigReader(const std::string& json_text);
  ~ConfigReader();
  ConfigReader(ConfigReader&&) noexcept;

  bool has(const ConfigKey& key) const;  // present and not null

  // nullopt: absent or null. Numbers lie in [least, most].
  std::optional<std::int64_t> find_integer(const ConfigKey& key, std::int64_t least,
                                           std::int64_t most) const;
  std::optional<double> find_real(const ConfigKey& key, double least, double most) const;
  std::optional<bool> find_flag(const ConfigKey& key) const;
  std::optional<std::string> find_text(const ConfigKey& key) const;
  std::optional<std::vector<std::string>> find_texts(const ConfigKey& key) const;
  std::optional<std::vector<std::int64_t>> find_integers(const ConfigKey& key, std::int64_t least,
                                                         std::int64_t most) const;

  // As above, but a missing key is an error.
  std::int64_t integer(const ConfigKey& key, std::int64_t least, std::int64_t most) const;
  double real(const ConfigKey& key, double least, double most) const;
  bool flag(const ConfigKey& key) const;
  std::string text(const ConfigKey& key) const;

  // Refuses any value but `only`: keys whose other values would need arithmetic that is not there.
  // Absent is fine.
  void require_text(const ConfigKey& key, std::string_view only) const;
  void require_flag(const ConfigKey& key, bool only) const;
  void require_integer(const ConfigKey& key, std::int64_t only) const;
  void require_real(const ConfigKey& key, double only) const;
  void require_absent(const ConfigKey& key) const;  // or null
  // Refuses the value that the key has; `supported` says which there are.
  [[noreturn]] void refuse(const ConfigKey& key, std::string_view supported) const;

  // Refuses every key of moe_keys.hpp that is present, not neutral, and was not read from this
  // object: what changes a MoE layer somewhere is never ignored.
  void refuse_unread_moe_keys() const;

 private:
  struct Document;
  std::unique_ptr<Document> document_;
};

}  // namespace sluice
