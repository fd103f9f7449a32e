// config.json as a family's reader sees it: keys with types and ranges, and a record of which were
// read, so that what nobody read can be refused.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::config {

// The names that one value goes by in different dialects. Where a file has several, they must
// agree.
class Key {
 public:
  Key(const char* name) : names_{name} {}  // NOLINT(google-explicit-constructor)
  Key(std::initializer_list<std::string_view> names) : names_(names) {}
  const std::vector<std::string_view>& names() const { return names_; }

 private:
  std::vector<std::string_view> names_;  // "quantization_config.fmt": a key of an object
};

// Every error is Error(checkpoint), names the key and shows the value. A null counts as absent.
class Keys {
 public:
  explicit Keys(const std::string& json_text);
  ~Keys();
  Keys(const Keys&) = delete;
  Keys& operator=(const Keys&) = delete;

  bool has(const Key& key) const;
  std::optional<std::int64_t> find_integer(const Key& key, std::int64_t least) const;
  std::optional<double> find_real(const Key& key, double least) const;
  std::optional<bool> find_flag(const Key& key) const;
  std::optional<std::string> find_text(const Key& key) const;
  std::optional<std::vector<std::int64_t>> find_integers(const Key& key) const;
  std::optional<std::vector<std::string>> find_texts(const Key& key) const;

  // As above, but a missing key is an error.
  std::int64_t integer(const Key& key, std::int64_t least = 1) const;
  double real(const Key& key, double least) const;
  bool flag(const Key& key) const;
  std::string text(const Key& key) const;

  // Keys whose other values would need arithmetic that a MoeSpec cannot say, or that contradict
  // what the family's formula does. Absent is fine.
  void only_text(const Key& key, std::string_view supported) const;
  void only_flag(const Key& key, bool supported) const;
  void only_integer(const Key& key, std::int64_t supported) const;
  [[noreturn]] void refuse(const Key& key, std::string_view reason) const;

  // Every key known to change a MoE layer's arithmetic in some family that is present, not neutral
  // and was not read by this one.
  void refuse_unread() const;

 private:
  struct Document;
  std::unique_ptr<Document> document_;
};

}  // namespace sluice::config
