// The BPE model of tokenizer.json: a word's characters, merged by the list of merges.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "tokenizer/merge.hpp"
#include "tokenizer/token_table.hpp"

namespace sluice::tokenizer {

struct BpeOptions {
  std::optional<std::string> unk_token;  // without one, characters outside the vocabulary vanish
  bool fuse_unk = false;                 // neighbouring unknown characters are one token
  bool ignore_merges = false;            // a word that is a token is that token, merges or not
};

class Bpe {
 public:
  // Merges in order of rank. Throws Error(checkpoint) for a merge or an unk_token whose tokens are
  // not in the vocabulary.
  Bpe(TokenTable tokens, const std::vector<std::pair<std::string, std::string>>& merges,
      const BpeOptions& options);

  void encode(std::string_view word, std::vector<TokenId>& ids) const;
  const TokenTable& tokens() const { return tokens_; }

 private:
  std::vector<Symbol> characters(std::string_view word) const;

  TokenTable tokens_;
  std::unordered_map<std::uint64_t, Merge> merges_;  // by the pair's two ids
  std::optional<TokenId> unk_;
  bool fuse_unk_;
  bool ignore_merges_;
};

}  // namespace sluice::tokenizer
