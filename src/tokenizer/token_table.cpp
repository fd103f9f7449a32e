#include "tokenizer/token_table.hpp"

#include <algorithm>
#include <utility>

#include "base/fail.hpp"
#include "tokenizer/utf8.hpp"

namespace sluice::tokenizer {

void TokenTable::add(std::string token, std::int64_t id) {
  if (token.size() > kMaxTokenBytes) {
    fail(ErrorKind::checkpoint, "vocabulary: token {} has {} bytes; the limit is {}", id,
         token.size(), kMaxTokenBytes);
  }
  if (id < 0 || id > kMaxTokenId) {
    fail(ErrorKind::checkpoint, "vocabulary: token \"{}\" has id {}; ids must be 0 to {}",
         shown(token), id, kMaxTokenId);
  }
  const auto [entry, fresh] = ids_.emplace(std::move(token), static_cast<TokenId>(id));
  if (!fresh) {
    fail(ErrorKind::checkpoint, "vocabulary: token \"{}\" has two ids, {} and {}",
         shown(entry->first), entry->second, id);
  }
  const auto [other, unused] = tokens_.emplace(static_cast<TokenId>(id), &entry->first);
  if (!unused) {
    fail(ErrorKind::checkpoint, "vocabulary: id {} belongs to two tokens, \"{}\" and \"{}\"", id,
         shown(*other->second), shown(entry->first));
  }
  largest_id_ = std::max(largest_id_, id);
}

std::optional<TokenId> TokenTable::find(std::string_view token) const {
  const auto entry = ids_.find(token);
  return entry == ids_.end() ? std::nullopt : std::optional(entry->second);
}

const std::string* TokenTable::token(TokenId id) const {
  const auto entry = tokens_.find(id);
  return entry == tokens_.end() ? nullptr : entry->second;
}

}  // namespace sluice::tokenizer
