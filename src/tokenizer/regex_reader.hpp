// A regular expression of a tokenizer file, read from left to right.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sluice::tokenizer {

constexpr int kMaxRegexNesting = 100;  // of groups, and of classes

class RegexReader {
 public:
  explicit RegexReader(std::string_view pattern) : pattern_(pattern) {}

  // Throws Error(unsupported): `what` of the pattern cannot be translated, and where it stands.
  [[noreturn]] void refuse(std::string_view what) const;
  // Case-insensitive, Oniguruma lets \p{Lu} match "a" and folds intersections after cutting them;
  // PCRE2 does neither.
  void refuse_if_caseless(std::string_view what) const;

  std::string_view pattern() const { return pattern_; }
  std::size_t position() const { return position_; }
  void move_to(std::size_t position) { position_ = position; }

  bool at_end() const { return position_ >= pattern_.size(); }
  char peek() const { return at_end() ? '\0' : pattern_[position_]; }
  bool looking_at(std::string_view text) const;
  void skip() { ++position_; }       // one byte
  bool take(std::string_view text);  // moves behind it, where it is next
  char32_t next_character();

  bool caseless = false;  // within (?i)

 private:
  std::string_view pattern_;
  std::size_t position_ = 0;
};

bool is_digit(char c);
bool is_letter(char32_t c);  // of ASCII

// One character as PCRE2 reads it, inside a class and outside.
std::string literal(char32_t c);

}  // namespace sluice::tokenizer
