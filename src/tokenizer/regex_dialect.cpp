#include "tokenizer/regex_dialect.hpp"

#include <cstdint>
#include <optional>
#include <utility>

#include "base/fail.hpp"
#include "tokenizer/regex_class.hpp"
#include "tokenizer/regex_property.hpp"
#include "tokenizer/utf8.hpp"

namespace sluice::tokenizer {
namespace {

constexpr int kMaxNesting = 100;
constexpr int kMaxQuantifiers = 8;  // of one atom
constexpr std::size_t kMaxPatternBytes = 64 * 1024;
constexpr std::uint32_t kMaxRepeat = 1000;
constexpr char32_t kMaxCodePoint = 0x10FFFF;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char32_t c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

int hex_value(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  std::string run() {
    if (pattern_.size() > kMaxPatternBytes) {
      refuse(fmt::format("its {} bytes exceed the limit of {}", pattern_.size(), kMaxPatternBytes));
    }
    std::string result = alternatives(0);
    if (!at_end()) refuse("unmatched )");
    return result;
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    fail(ErrorKind::unsupported, "regular expression {}: {} (at byte {})", shown(pattern_), what,
         position_);
  }

  bool at_end() const { return position_ >= pattern_.size(); }
  char peek() const { return at_end() ? '\0' : pattern_[position_]; }
  bool looking_at(std::string_view text) const {
    return pattern_.substr(position_).substr(0, text.size()) == text;
  }
  bool take(std::string_view text) {
    if (!looking_at(text)) return false;
    position_ += text.size();
    return true;
  }
  char32_t next_character() {
    if (at_end()) refuse("it ends too early");
    const Utf8Char c = utf8_at(pattern_, position_);
    if (!c.valid) refuse("invalid UTF-8");
    position_ += c.bytes;
    return c.code;
  }

  static std::string literal(char32_t c) {
    if (is_letter(c) || (c >= '0' && c <= '9') || c == ' ' || c == '_') {
      return std::string(1, static_cast<char>(c));
    }
    return fmt::format("\\x{{{:x}}}", static_cast<std::uint32_t>(c));
  }

  std::string alternatives(int depth) {
    if (depth > kMaxNesting) refuse(fmt::format("groups nest deeper than {}", kMaxNesting));
    const bool caseless_outside = caseless_;
    std::string out;
    while (!at_end() && peek() != ')') {
      if (take("|")) {
        out += '|';
        continue;
      }
      previous_letter_ = std::exchange(next_letter_, 0);
      std::string atom = this->atom(depth);
      for (int quantifiers = 0;; ++quantifiers) {
        if (quantifiers > kMaxQuantifiers) refuse("so many quantifiers in a row");
        const std::optional<std::string> repeated = quantifier(atom, quantifiers > 0);
        if (!repeated) break;
        atom = *repeated;
      }
      out += atom;
    }
    caseless_ = caseless_outside;  // (?i) holds to the end of its group
    return out;
  }

  // nullopt: no quantifier here. What is already quantified is grouped first: in PCRE2 the second
  // sign would change the meaning of the first.
  std::optional<std::string> quantifier(const std::string& atom, bool quantified) {
    const std::string one = quantified ? fmt::format("(?:{})", atom) : atom;
    const char sign = peek();
    if (sign == '*' || sign == '+' || sign == '?') {
      ++position_;
      std::string result = one + sign;
      if (take("+")) return result + '+';
      if (take("?")) return result + '?';
      return result;
    }
    const std::optional<Interval> interval = this->interval();
    if (!interval) return std::nullopt;
    const std::string repeated = one + interval->text;
    // Oniguruma: {n}? is "n times or not at all" and {n,m}+ is a repeated repetition.
    if (interval->exact && take("?")) return fmt::format("(?:{})?", repeated);
    if (take("?")) return repeated + '?';
    if (take("+")) return fmt::format("(?:{})+", repeated);
    return repeated;
  }

  struct Interval {
    std::string text;
    bool exact;
  };

  std::optional<std::uint32_t> number(std::size_t& at) const {
    if (at >= pattern_.size() || !is_digit(pattern_[at])) return std::nullopt;
    std::uint32_t value = 0;
    for (; at < pattern_.size() && is_digit(pattern_[at]); ++at) {
      value = value * 10 + static_cast<std::uint32_t>(pattern_[at] - '0');
      if (value > kMaxRepeat) refuse(fmt::format("a repetition exceeds {}", kMaxRepeat));
    }
    return value;
  }

  // A brace that opens no interval is a literal.
  std::optional<Interval> interval() {
    if (peek() != '{') return std::nullopt;
    std::size_t at = position_ + 1;
    const auto low = number(at);
    const bool comma = at < pattern_.size() && pattern_[at] == ',';
    at += comma ? 1 : 0;
    const auto high = comma ? number(at) : low;
    const bool closed = at < pattern_.size() && pattern_[at] == '}';
    if (!closed || (!low && !high)) return std::nullopt;
    if (low && high && *low > *high) refuse("an interval's bounds are in the wrong order");
    position_ = at + 1;
    const std::string from = std::to_string(low.value_or(0));
    if (!comma) return Interval{fmt::format("{{{}}}", from), true};
    return Interval{fmt::format("{{{},{}}}", from, high ? std::to_string(*high) : ""), false};
  }

  std::string atom(int depth) {
    if (take("(")) return group(depth);
    if (take("[")) return character_class(depth).pattern();
    if (take("\\")) return escape();
    if (take(".")) return ".";
    if (take("^")) return "^";
    if (take("$")) return "$";
    const char sign = peek();
    if (sign == '*' || sign == '+' || sign == '?') refuse("nothing to repeat");
    return character(next_character());
  }

  // Oniguruma folds some letters to several: ß is "ss", ﬁ is "fi". PCRE2 does not.
  std::string character(char32_t c) {
    if (caseless_) {
      if (c >= 0x80) refuse("a letter beyond ASCII where case is ignored");
      const char32_t pair[] = {folded(previous_letter_), folded(c)};
      for (const std::u32string_view both : {U"ss", U"st", U"ff", U"fi", U"fl"}) {
        if (std::u32string_view(pair, 2) == both)
          refuse("a ligature's letters where case is ignored");
      }
    }
    next_letter_ = c;
    return literal(c);
  }

  static char32_t folded(char32_t c) { return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c; }

  std::string closed_group(std::string_view open, int depth) {
    std::string body = alternatives(depth + 1);
    if (!take(")")) refuse("missing )");
    return fmt::format("{}{})", open, body);
  }

  std::string group(int depth) {
    for (const std::string_view open : {"?:", "?=", "?!", "?<=", "?<!", "?>"}) {
      if (take(open)) return closed_group(fmt::format("({}", open), depth);
    }
    if (take("?#")) {
      const std::size_t end = pattern_.find(')', position_);
      if (end == std::string_view::npos) refuse("missing ) of a comment");
      position_ = end + 1;
      return "(?:)";
    }
    if (take("?<")) {  // a name, which only a back-reference could use
      const std::size_t end = pattern_.find('>', position_);
      if (end == std::string_view::npos) refuse("missing > of a group's name");
      position_ = end + 1;
      return closed_group("(?:", depth);
    }
    if (!take("?")) return closed_group("(?:", depth);
    const bool caseless_outside = caseless_;
    std::string flags;
    for (; !at_end() && peek() != ':' && peek() != ')'; ++position_) {
      switch (peek()) {
        case 'i':
          flags += 'i';
          caseless_ = flags.find('-') == std::string::npos;
          break;
        case 'm':
          flags += 's';
          break;
        case '-':
          flags += '-';
          break;
        default:
          refuse(fmt::format("group option (?{}…", peek()));
      }
    }
    if (take(")")) return fmt::format("(?{})", flags);
    if (!take(":")) refuse("missing )");
    std::string result = closed_group(fmt::format("(?{}:", flags), depth);
    caseless_ = caseless_outside;
    return result;
  }

  std::optional<char32_t> hexadecimal(std::size_t least, std::size_t most) {
    char32_t value = 0;
    std::size_t digits = 0;
    for (; digits < most && hex_value(peek()) >= 0; ++digits, ++position_) {
      value = value * 16 + static_cast<char32_t>(hex_value(peek()));
    }
    if (digits < least || value > kMaxCodePoint) return std::nullopt;
    return value;
  }

  // The single character that an escape stands for; `letter` follows the backslash.
  std::optional<char32_t> escaped_character(char32_t letter) {
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
        const bool braces = letter == 'x' && take("{");
        const auto value = braces          ? hexadecimal(1, 8)
                           : letter == 'x' ? hexadecimal(1, 2)
                                           : hexadecimal(4, 4);
        if (!value || (braces && !take("}"))) refuse("a damaged hexadecimal escape");
        if (letter == 'x' && !braces && *value >= 0x80) refuse("\\x80 … \\xff, a raw byte");
        return value;
      }
      default:
        break;
    }
    const bool alphanumeric = is_letter(letter) || (letter >= '0' && letter <= '9');
    return alphanumeric ? std::nullopt : std::optional<char32_t>(letter);
  }

  std::optional<CharacterSet> escaped_set(char32_t letter) {
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
        if (!take("{")) refuse("\\p without braces: write \\p{L}");
        bool negated = letter == 'P';
        if (take("^")) negated = !negated;
        return named_set("}", negated);
      }
      default:
        return std::nullopt;
    }
  }

  // Case-insensitive, Oniguruma lets \p{Lu} match "a" and folds intersections after cutting them;
  // PCRE2 does neither.
  void refuse_if_caseless(std::string_view what) const {
    if (caseless_) refuse(fmt::format("{} where case is ignored", what));
  }

  CharacterSet named_set(std::string_view close, bool negated) {
    const std::size_t end = pattern_.find(close, position_);
    if (end == std::string_view::npos) refuse("a property's name does not end");
    const std::string_view name = pattern_.substr(position_, end - position_);
    // [[:punct:]] has the symbols too; \p{Punct} has not.
    std::string body = close == ":]" && name == "punct" ? R"(\p{P}\p{S})" : property_class(name);
    for (const std::string_view cased :
         {"\\p{Lu}", "\\p{Ll}", "\\p{Lt}", "\\p{Uppercase}", "\\p{Lowercase}"}) {
      if (body == cased) refuse_if_caseless(fmt::format("\\p{{{}}}", name));
    }
    if (body.empty()) refuse(fmt::format("unknown character property \"{}\"", name));
    position_ = end + close.size();
    return {std::move(body), {}, {}, negated};
  }

  std::string escape() {
    const char32_t letter = next_character();
    if (const auto set = escaped_set(letter)) return set->pattern();
    const std::string word = fmt::format("[{}]", word_class());
    switch (letter) {
      case 'A':
        return "\\A";
      case 'z':
        return "\\z";
      case 'Z':
        return "\\Z";
      case 'R':
        return "\\R";
      case 'b':
        return fmt::format("(?:(?<={0})(?!{0})|(?<!{0})(?={0}))", word);
      case 'B':
        return fmt::format("(?:(?<={0})(?={0})|(?<!{0})(?!{0}))", word);
      default:
        break;
    }
    if (const auto c = escaped_character(letter)) return character(*c);
    refuse(fmt::format("escape \\{}", static_cast<char>(letter)));
  }

  // One member of a class: a single character, or a set.
  std::pair<std::optional<char32_t>, CharacterSet> class_member(int depth) {
    if (looking_at("[:")) {
      const std::size_t end = pattern_.find(":]", position_ + 2);
      if (end != std::string_view::npos) {
        position_ += 2;
        const bool negated = take("^");
        return {std::nullopt, named_set(":]", negated)};
      }
    }
    if (take("[")) {
      if (peek() == '^') refuse_if_caseless("a class in a class");
      return {std::nullopt, character_class(depth + 1)};
    }
    if (take("\\")) {
      const char32_t letter = next_character();
      if (const auto set = escaped_set(letter)) return {std::nullopt, *set};
      if (letter == 'b') return {U'\b', {}};
      const auto c = escaped_character(letter);
      if (!c) refuse(fmt::format("escape \\{} in a class", static_cast<char>(letter)));
      return {c, {}};
    }
    return {next_character(), {}};
  }

  CharacterSet class_operand(int depth) {
    CharacterSet operand;
    for (bool first = true; at_end() || (first || peek() != ']'); first = false) {
      if (looking_at("&&")) return operand;
      auto [low, set] = class_member(depth);
      if (!low) {
        operand.add(std::move(set));
        continue;
      }
      operand.body += literal(*low);
      const bool range = peek() == '-' && !looking_at("-]") && !looking_at("-&&");
      if (!range) continue;
      ++position_;
      const auto high = class_member(depth).first;
      if (!high || *low > *high) refuse("a range in a class has no upper end above its lower");
      operand.body += fmt::format("-{}", literal(*high));
    }
    return operand;
  }

  CharacterSet character_class(int depth) {
    if (depth > kMaxNesting) refuse(fmt::format("classes nest deeper than {}", kMaxNesting));
    const bool negated = take("^");
    CharacterSet set = class_operand(depth);
    while (take("&&")) {
      refuse_if_caseless("&&");
      set.others.push_back(peek() == ']' ? CharacterSet{} : class_operand(depth));
    }
    if (!take("]")) refuse("missing ]");
    set.negated = negated;
    return set;
  }

  std::string_view pattern_;
  std::size_t position_ = 0;
  bool caseless_ = false;
  char32_t previous_letter_ = 0;  // the literal just before this atom; 0: it was no literal
  char32_t next_letter_ = 0;      // this atom, if it is a literal
};

}  // namespace

std::string_view white_space_class() {
  return R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
}

std::string_view word_class() {
  // The superscripts and fractions of Latin-1 are Oniguruma's own addition.
  return R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{b2}\x{b3}\x{b9}\x{bc}-\x{be})";
}

std::string pcre2_pattern(std::string_view pattern) { return Translator(pattern).run(); }

}  // namespace sluice::tokenizer
