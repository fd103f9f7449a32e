#include "tokenizer/bpe.hpp"

#include "base/fail.hpp"
#include "tokenizer/utf8.hpp"

namespace sluice::tokenizer {
namespace {

std::uint64_t pair_key(TokenId left, TokenId right) {
  return (static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32) |
         static_cast<std::uint32_t>(right);
}

}  // namespace

Bpe::Bpe(TokenTable tokens, const std::vector<std::pair<std::string, std::string>>& merges,
         const BpeOptions& options)
    : tokens_(std::move(tokens)),
      fuse_unk_(options.fuse_unk),
      ignore_merges_(options.ignore_merges) {
  const auto id = [&](const std::string& token, std::size_t rank) {
    const auto found = tokens_.find(token);
    if (!found) {
      fail(ErrorKind::checkpoint, "model.merges[{}]: \"{}\" is not in the vocabulary", rank,
           shown(token));
    }
    return *found;
  };
  merges_.reserve(merges.size());
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    const Merge merge{static_cast<std::uint32_t>(rank), id(left + right, rank)};
    // Of a pair that is listed twice the later rank counts, as in Hugging Face's reader.
    merges_.insert_or_assign(pair_key(id(left, rank), id(right, rank)), merge);
  }
  if (options.unk_token) {
    unk_ = tokens_.find(*options.unk_token);
    if (!unk_) {
      fail(ErrorKind::checkpoint, "model.unk_token \"{}\" is not in the vocabulary",
           shown(*options.unk_token));
    }
  }
}

std::vector<Symbol> Bpe::characters(std::string_view word) const {
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  std::size_t unknown_from = kNoSymbol;  // a run of unknown characters being fused
  for (std::size_t i = 0; i < word.size();) {
    const std::size_t end = i + utf8_at(word, i).bytes;
    if (const auto id = tokens_.find(word.substr(i, end - i))) {
      unknown_from = kNoSymbol;
      append_symbol(symbols, *id, i, end);
    } else if (unk_ && fuse_unk_ && unknown_from != kNoSymbol) {
      symbols.back().end = end;
    } else if (unk_) {
      unknown_from = i;
      append_symbol(symbols, *unk_, i, end);
    }
    i = end;
  }
  return symbols;
}

void Bpe::encode(std::string_view word, std::vector<TokenId>& ids) const {
  if (ignore_merges_) {
    if (const auto id = tokens_.find(word)) {
      ids.push_back(*id);
      return;
    }
  }
  std::vector<Symbol> symbols = characters(word);
  merge_symbols(symbols, [&](const Symbol& left, const Symbol& right) -> std::optional<Merge> {
    const auto merge = merges_.find(pair_key(left.id, right.id));
    if (merge == merges_.end()) return std::nullopt;
    return merge->second;
  });
  for (const Symbol& symbol : symbols) {
    if (symbol.begin != symbol.end) ids.push_back(symbol.id);
  }
}

}  // namespace sluice::tokenizer
