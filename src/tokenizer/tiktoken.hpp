// tiktoken's model: ranks that are ids, and words that merge by the rank of the joined bytes.
#pragma once

#include <string_view>
#include <vector>

#include "tokenizer/regex.hpp"
#include "tokenizer/token_table.hpp"

namespace sluice::tokenizer {

class Tiktoken {
 public:
  // `ranks`: lines of "base64(bytes) rank". Throws Error(checkpoint) unless the ranks are 0 … n-1,
  // each once, and every single byte has one.
  Tiktoken(std::string_view ranks, std::string_view pattern);

  void encode(std::string_view text, std::vector<TokenId>& ids) const;
  const TokenTable& tokens() const { return tokens_; }  // raw bytes

 private:
  void encode_word(std::string_view word, std::vector<TokenId>& ids) const;

  TokenTable tokens_;
  Regex pattern_;
};

// The words of Moonshot's Kimi models (the pattern is in their code, not in their files).
std::string_view kimi_pattern();

}  // namespace sluice::tokenizer
