// Tokens that are recognised in the text itself, before it is cut into words.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <sluice/tokenizer.hpp>

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

// How far each position of a text may have to be compared.
constexpr std::size_t kMaxAddedTokenBytes = 1024;

// A piece of text: an added token, or text between added tokens.
struct Piece {
  std::string_view text;
  const AddedToken* token = nullptr;
};

// A set of added tokens that are looked for together: the leftmost match, the longest of those.
class AddedTokens {
 public:
  // Throws Error(checkpoint) beyond kMaxAddedTokenBytes, and for two tokens that look for one text.
  void add(AddedToken token);
  // `recognise_special` false: special tokens are ordinary text.
  std::vector<Piece> split(std::string_view text, bool recognise_special) const;

 private:
  const AddedToken* longest_match(std::string_view text) const;

  // A trie: from a node and a byte to the next node; node 0 is the root.
  std::unordered_map<std::uint64_t, std::uint32_t> edges_;
  std::vector<std::optional<AddedToken>> nodes_{std::nullopt};  // the token that ends there
};

}  // namespace sluice::tokenizer
