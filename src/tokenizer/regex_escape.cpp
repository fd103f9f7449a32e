#include "tokenizer/regex_escape.hpp"

#include <string>
#include <utility>

#include "base/fail.hpp"
#include "tokenizer/regex_property.hpp"

namespace sluice::tokenizer {
namespace {

constexpr char32_t kMaxCodePoint = 0x10FFFF;

int hex_value(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<char32_t> hexadecimal(RegexReader& reader, std::size_t least, std::size_t most) {
  char32_t value = 0;
  std::size_t digits = 0;
  for (; digits < most && hex_value(reader.peek()) >= 0; ++digits, reader.skip()) {
    value = value * 16 + static_cast<char32_t>(hex_value(reader.peek()));
  }
  if (digits < least || value > kMaxCodePoint) return std::nullopt;
  return value;
}

}  // namespace

std::optional<char32_t> escaped_character(RegexReader& reader, char32_t letter) {
  switch (letter) {
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    case 'f':
      return '\f';
    case 'v':
      return '\v';
    case 'a':
      return '\a';
    case 'e':
      return 0x1B;
    case 'u':
    case 'x': {
      const bool braces = letter == 'x' && reader.take("{");
      const auto value = braces          ? hexadecimal(reader, 1, 8)
                         : letter == 'x' ? hexadecimal(reader, 1, 2)
                                         : hexadecimal(reader, 4, 4);
      if (!value || (braces && !reader.take("}"))) reader.refuse("a damaged hexadecimal escape");
      if (letter == 'x' && !braces && *value >= 0x80) reader.refuse("\\x80 … \\xff, a raw byte");
      return value;
    }
    default:
      break;
  }
  const bool alphanumeric = is_letter(letter) || (letter >= '0' && letter <= '9');
  return alphanumeric ? std::nullopt : std::optional<char32_t>(letter);
}

std::optional<CharacterSet> escaped_set(RegexReader& reader, char32_t letter) {
  const auto set = [](std::string_view body, bool negated) {
    return CharacterSet{std::string(body), {}, {}, negated};
  };
  switch (letter) {
    case 's':
      return set(white_space_class(), false);
    case 'S':
      return set(white_space_class(), true);
    case 'w':
      return set(word_class(), false);
    case 'W':
      return set(word_class(), true);
    case 'd':
      return set(R"(\p{Nd})", false);
    case 'D':
      return set(R"(\p{Nd})", true);
    case 'h':
      return set("0-9A-Fa-f", false);
    case 'H':
      return set("0-9A-Fa-f", true);
    case 'p':
    case 'P': {
      if (!reader.take("{")) reader.refuse("\\p without braces: write \\p{L}");
      bool negated = letter == 'P';
      if (reader.take("^")) negated = !negated;
      return named_set(reader, "}", negated);
    }
    default:
      return std::nullopt;
  }
}

CharacterSet named_set(RegexReader& reader, std::string_view close, bool negated) {
  const std::size_t end = reader.pattern().find(close, reader.position());
  if (end == std::string_view::npos) reader.refuse("a property's name does not end");
  const std::string_view name = reader.pattern().substr(reader.position(), end - reader.position());
  // [[:punct:]] has the symbols too; \p{Punct} has not.
  std::string body = close == ":]" && name == "punct" ? R"(\p{P}\p{S})" : property_class(name);
  for (const std::string_view cased :
       {"\\p{Lu}", "\\p{Ll}", "\\p{Lt}", "\\p{Uppercase}", "\\p{Lowercase}"}) {
    if (body == cased) reader.refuse_if_caseless(fmt::format("\\p{{{}}}", name));
  }
  if (body.empty()) reader.refuse(fmt::format("unknown character property \"{}\"", name));
  reader.move_to(end + close.size());
  return {std::move(body), {}, {}, negated};
}

}  // namespace sluice::tokenizer
