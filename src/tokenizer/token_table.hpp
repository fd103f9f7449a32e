// Tokens and their ids, both ways.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include <sluice/tokenizer.hpp>

namespace sluice::tokenizer {

// Far above any released vocabulary (about 260,000), far below what makes sizes from it dangerous.
constexpr std::int64_t kMaxTokenId = (std::int64_t{1} << 24) - 1;
constexpr std::size_t kMaxTokenBytes = 64 * 1024;

// Lets a map of strings be asked with a view.
struct StringHash : std::hash<std::string_view> {
  using is_transparent = void;
};

class TokenTable {
 public:
  // Throws Error(checkpoint) for an id out of bounds, a token too long, or a second token or id.
  void add(std::string token, std::int64_t id);
  std::optional<TokenId> find(std::string_view token) const;
  const std::string* token(TokenId id) const;  // nullptr: no such id
  std::size_t size() const { return ids_.size(); }
  std::int64_t largest_id() const { return largest_id_; }  // -1: empty

 private:
  std::unordered_map<std::string, TokenId, StringHash, std::equal_to<>> ids_;
  std::unordered_map<TokenId, const std::string*> tokens_;  // keys of ids_, whose nodes stay put
  std::int64_t largest_id_ = -1;
};

}  // namespace sluice::tokenizer
