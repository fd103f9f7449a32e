// Tokens that are recognised in the text itself, before it is cut into words.
#pragma once

#include <array>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <sluice/tokenizer.hpp>

#include "tokenizer/token_table.hpp"

namespace sluice::tokenizer {

struct AddedToken {
  TokenId id = 0;
  std::string content;
  std::string match;         // what to look for: the content, normalized if `normalized`
  bool single_word = false;  // not inside a word
  bool lstrip = false;       // takes the white space before it along
  bool rstrip = false;       // … and after it
  bool special = false;
};

// A piece of text: an added token, or text between added tokens.
struct Piece {
  std::string_view text;
  const AddedToken* token = nullptr;
};

// A set of added tokens that are looked for together: the leftmost match, the longest of those.
class AddedTokens {
 public:
  void add(AddedToken token);
  // `recognise_special` false: special tokens are ordinary text.
  std::vector<Piece> split(std::string_view text, bool recognise_special) const;

 private:
  const AddedToken* longest_match(std::string_view text) const;

  std::unordered_map<std::string, AddedToken, StringHash, std::equal_to<>> tokens_;  // by match
  std::array<std::vector<std::size_t>, 256> lengths_;  // of matches by first byte, longest first
};

}  // namespace sluice::tokenizer
