#include "tokenizer/regex_dialect.hpp"

#include <cstdint>
#include <optional>
#include <utility>

#include "base/fail.hpp"
#include "tokenizer/regex_brackets.hpp"
#include "tokenizer/regex_class.hpp"
#include "tokenizer/regex_escape.hpp"
#include "tokenizer/regex_property.hpp"
#include "tokenizer/regex_reader.hpp"

namespace sluice::tokenizer {
namespace {

constexpr int kMaxQuantifiers = 8;  // of one atom
constexpr std::size_t kMaxPatternBytes = 64 * 1024;
constexpr std::uint32_t kMaxRepeat = 1000;

class Translator {
 public:
  explicit Translator(std::string_view pattern) : reader_(pattern) {}

  std::string run() {
    if (reader_.pattern().size() > kMaxPatternBytes) {
      reader_.refuse(fmt::format("its {} bytes exceed the limit of {}", reader_.pattern().size(),
                                 kMaxPatternBytes));
    }
    std::string result = alternatives(0);
    if (!reader_.at_end()) reader_.refuse("unmatched )");
    return result;
  }

 private:
  std::string alternatives(int depth) {
    if (depth > kMaxRegexNesting)
      reader_.refuse(fmt::format("groups nest deeper than {}", kMaxRegexNesting));
    const bool caseless_outside = reader_.caseless;
    std::string out;
    while (!reader_.at_end() && reader_.peek() != ')') {
      if (reader_.take("|")) {
        out += '|';
        continue;
      }
      previous_letter_ = std::exchange(next_letter_, 0);
      std::string atom = this->atom(depth);
      for (int quantifiers = 0;; ++quantifiers) {
        if (quantifiers > kMaxQuantifiers) reader_.refuse("so many quantifiers in a row");
        const std::optional<std::string> repeated = quantifier(atom, quantifiers > 0);
        if (!repeated) break;
        atom = *repeated;
      }
      out += atom;
    }
    reader_.caseless = caseless_outside;  // (?i) holds to the end of its group
    return out;
  }

  // nullopt: no quantifier here. What is already quantified is grouped first: in PCRE2 the second
  // sign would change the meaning of the first.
  std::optional<std::string> quantifier(const std::string& atom, bool quantified) {
    const std::string one = quantified ? fmt::format("(?:{})", atom) : atom;
    const char sign = reader_.peek();
    if (sign == '*' || sign == '+' || sign == '?') {
      reader_.skip();
      std::string result = one + sign;
      if (reader_.take("+")) return result + '+';
      if (reader_.take("?")) return result + '?';
      return result;
    }
    const std::optional<Interval> interval = this->interval();
    if (!interval) return std::nullopt;
    const std::string repeated = one + interval->text;
    // Oniguruma: {n}? is "n times or not at all" and {n,m}+ is a repeated repetition.
    if (interval->exact && reader_.take("?")) return fmt::format("(?:{})?", repeated);
    if (reader_.take("?")) return repeated + '?';
    if (reader_.take("+")) return fmt::format("(?:{})+", repeated);
    return repeated;
  }

  struct Interval {
    std::string text;
    bool exact;
  };

  std::optional<std::uint32_t> number(std::size_t& at) const {
    if (at >= reader_.pattern().size() || !is_digit(reader_.pattern()[at])) return std::nullopt;
    std::uint32_t value = 0;
    for (; at < reader_.pattern().size() && is_digit(reader_.pattern()[at]); ++at) {
      value = value * 10 + static_cast<std::uint32_t>(reader_.pattern()[at] - '0');
      if (value > kMaxRepeat) reader_.refuse(fmt::format("a repetition exceeds {}", kMaxRepeat));
    }
    return value;
  }

  // A brace that opens no interval is a literal.
  std::optional<Interval> interval() {
    if (reader_.peek() != '{') return std::nullopt;
    std::size_t at = reader_.position() + 1;
    const auto low = number(at);
    const bool comma = at < reader_.pattern().size() && reader_.pattern()[at] == ',';
    at += comma ? 1 : 0;
    const auto high = comma ? number(at) : low;
    const bool closed = at < reader_.pattern().size() && reader_.pattern()[at] == '}';
    if (!closed || (!low && !high)) return std::nullopt;
    if (low && high && *low > *high) reader_.refuse("an interval's bounds are in the wrong order");
    reader_.move_to(at + 1);
    const std::string from = std::to_string(low.value_or(0));
    if (!comma) return Interval{fmt::format("{{{}}}", from), true};
    return Interval{fmt::format("{{{},{}}}", from, high ? std::to_string(*high) : ""), false};
  }

  std::string atom(int depth) {
    if (reader_.take("(")) return group(depth);
    if (reader_.take("[")) return character_class(reader_, depth).pattern();
    if (reader_.take("\\")) return escape();
    if (reader_.take(".")) return ".";
    if (reader_.take("^")) return "^";
    if (reader_.take("$")) return "$";
    const char sign = reader_.peek();
    if (sign == '*' || sign == '+' || sign == '?') reader_.refuse("nothing to repeat");
    return character(reader_.next_character());
  }

  // Oniguruma folds some letters to several: ß is "ss", ﬁ is "fi". PCRE2 does not.
  std::string character(char32_t c) {
    if (reader_.caseless) {
      if (c >= 0x80) reader_.refuse("a letter beyond ASCII where case is ignored");
      const char32_t pair[] = {folded(previous_letter_), folded(c)};
      for (const std::u32string_view both : {U"ss", U"st", U"ff", U"fi", U"fl"}) {
        if (std::u32string_view(pair, 2) == both)
          reader_.refuse("a ligature's letters where case is ignored");
      }
    }
    next_letter_ = c;
    return literal(c);
  }

  static char32_t folded(char32_t c) { return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c; }

  std::string closed_group(std::string_view open, int depth) {
    std::string body = alternatives(depth + 1);
    if (!reader_.take(")")) reader_.refuse("missing )");
    return fmt::format("{}{})", open, body);
  }

  std::string group(int depth) {
    for (const std::string_view open : {"?:", "?=", "?!", "?<=", "?<!", "?>"}) {
      if (reader_.take(open)) return closed_group(fmt::format("({}", open), depth);
    }
    if (reader_.take("?#")) {
      const std::size_t end = reader_.pattern().find(')', reader_.position());
      if (end == std::string_view::npos) reader_.refuse("missing ) of a comment");
      reader_.move_to(end + 1);
      return "(?:)";
    }
    if (reader_.take("?<")) {  // a name, which only a back-reference could use
      const std::size_t end = reader_.pattern().find('>', reader_.position());
      if (end == std::string_view::npos) reader_.refuse("missing > of a group's name");
      reader_.move_to(end + 1);
      return closed_group("(?:", depth);
    }
    if (!reader_.take("?")) return closed_group("(?:", depth);
    const bool caseless_outside = reader_.caseless;
    std::string flags;
    for (; !reader_.at_end() && reader_.peek() != ':' && reader_.peek() != ')'; reader_.skip()) {
      switch (reader_.peek()) {
        case 'i':
          flags += 'i';
          reader_.caseless = flags.find('-') == std::string::npos;
          break;
        case 'm':
          flags += 's';
          break;
        case '-':
          flags += '-';
          break;
        default:
          reader_.refuse(fmt::format("group option (?{}…", reader_.peek()));
      }
    }
    if (reader_.take(")")) return fmt::format("(?{})", flags);
    if (!reader_.take(":")) reader_.refuse("missing )");
    std::string result = closed_group(fmt::format("(?{}:", flags), depth);
    reader_.caseless = caseless_outside;
    return result;
  }

  std::string escape() {
    const char32_t letter = reader_.next_character();
    if (const auto set = escaped_set(reader_, letter)) return set->pattern();
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
    if (const auto c = escaped_character(reader_, letter)) return character(*c);
    reader_.refuse(fmt::format("escape \\{}", static_cast<char>(letter)));
  }

  RegexReader reader_;
  char32_t previous_letter_ = 0;  // the literal just before this atom; 0: it was no literal
  char32_t next_letter_ = 0;      // this atom, if it is a literal
};

}  // namespace

std::string pcre2_pattern(std::string_view pattern) { return Translator(pattern).run(); }

}  // namespace sluice::tokenizer
