// Everything that turns text into ids, whatever file it was read from.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

#include "tokenizer/added_tokens.hpp"
#include "tokenizer/bpe.hpp"
#include "tokenizer/pre_tokenizer.hpp"
#include "tokenizer/tiktoken.hpp"

namespace sluice::tokenizer {

struct ByteLevelBpe {
  PreTokenizer pre_tokenizer;
  Bpe model;
};

struct Pipeline {
  explicit Pipeline(std::variant<ByteLevelBpe, Tiktoken> words) : model(std::move(words)) {}

  std::variant<ByteLevelBpe, Tiktoken> model;
  bool nfc = false;  // the normalizer, applied to text between exact added tokens
  TokenTable added;  // also those that the model's vocabulary has
  std::unordered_set<TokenId> special;
  AddedTokens exact;                                         // looked for in the text as given
  AddedTokens normalized;                                    // looked for in normalized text
  std::vector<std::optional<TokenId>> around{std::nullopt};  // post-processor: nullopt is the text

  const TokenTable& tokens() const;
  std::vector<TokenId> encode(std::string_view text, bool add_special_tokens,
                              SpecialText special_text) const;
  std::optional<TokenId> id_of(std::string_view token) const;
  const std::string* token_of(TokenId id) const;
  void append_bytes(TokenId id, std::string& bytes) const;

  // Checks the token against the vocabulary and enters it everywhere it belongs. `normalize`: look
  // for it in normalized text. Throws Error(checkpoint) for an empty content and for clashing ids.
  void add_token(AddedToken token, bool normalize);

 private:
  void encode_between(std::string_view text, bool recognise_special,
                      std::vector<TokenId>& ids) const;
  void encode_words(std::string_view text, std::vector<TokenId>& ids) const;
};

}  // namespace sluice::tokenizer
