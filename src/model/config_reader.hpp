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

// The names one value goes by. Where a file has several of them, they must agree.
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

  // nullopt: absent or null. The others throw where these return nullopt.
  std::optional<std::int64_t> find_integer(const ConfigKey& key, std::int64_t least,
                                           std::int64_t most) const;
  std::optional<double> find_real(const ConfigKey& key, double least, double most) const;
  std::optional<bool> find_flag(const ConfigKey& key) const;
  std::optional<std::string> find_text(const ConfigKey& key) const;
  std::optional<std::vector<std::string>> find_texts(const ConfigKey& key) const;
  std::optional<std::vector<std::int64_t>> find_integers(const ConfigKey& key, std::int64_t least,
                                                         std::int64_t most) const;

  std::int64_t integer(const ConfigKey& key, std::int64_t least, std::int64_t most) const;
  double real(const ConfigKey& key, double least, double most) const;
  std::string text(const ConfigKey& key) const;

  // Refuses any value but `only`: keys whose other values would need arithmetic that is not there.
  void require_text(const ConfigKey& key, std::string_view only) const;
  void require_flag(const ConfigKey& key, bool only) const;
  void require_real(const ConfigKey& key, double only) const;
  void require_absent(const ConfigKey& key) const;  // or null

 private:
  struct Document;
  std::unique_ptr<Document> document_;
};

// Keys that would change the arithmetic of any decoder and that no family here implements:
// quantised weights, soft caps, residual multipliers, scaled rotary embeddings, …
void require_plain_decoder(const ConfigReader& config);

}  // namespace sluice
