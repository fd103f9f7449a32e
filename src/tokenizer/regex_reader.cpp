#include "tokenizer/regex_reader.hpp"

#include <cstdint>

#include "base/fail.hpp"
#include "tokenizer/utf8.hpp"

namespace sluice::tokenizer {

void RegexReader::refuse(std::string_view what) const {
  fail(ErrorKind::unsupported, "regular expression {}: {} (at byte {})", shown(pattern_), what,
       position_);
}

void RegexReader::refuse_if_caseless(std::string_view what) const {
  if (caseless) refuse(fmt::format("{} where case is ignored", what));
}

bool RegexReader::looking_at(std::string_view text) const {
  return pattern_.substr(position_).substr(0, text.size()) == text;
}

bool RegexReader::take(std::string_view text) {
  if (!looking_at(text)) return false;
  position_ += text.size();
  return true;
}

char32_t RegexReader::next_character() {
  if (at_end()) refuse("it ends too early");
  const Utf8Char c = utf8_at(pattern_, position_);
  if (!c.valid) refuse("invalid UTF-8");
  position_ += c.bytes;
  return c.code;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_letter(char32_t c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

std::string literal(char32_t c) {
  if (is_letter(c) || (c >= '0' && c <= '9') || c == ' ' || c == '_') {
    return std::string(1, static_cast<char>(c));
  }
  return fmt::format("\\x{{{:x}}}", static_cast<std::uint32_t>(c));
}

}  // namespace sluice::tokenizer
