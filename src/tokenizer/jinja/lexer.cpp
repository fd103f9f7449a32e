#include "tokenizer/jinja/lexer.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "base/fail.hpp"
#include "tokenizer/utf8.hpp"

namespace sluice::tokenizer::jinja {
namespace {

constexpr std::string_view kSpace = " \t\n\r\v\f";

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || is_digit(c);
}

// Jinja reads every kind of line end as \n and drops one at the end of the template.
std::string unix_lines(std::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      text.push_back('\n');
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      text.push_back(source[i]);
    }
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  std::vector<Segment> run() {
    while (position_ < source_.size()) {
      const std::size_t open = next_tag();
      std::string text = source_.substr(position_, open - position_);
      advance(open);
      if (open == source_.size()) {
        add_text(std::move(text));
        break;
      }
      const char kind = source_[open + 1];
      const char sign = open + 2 < source_.size() ? source_[open + 2] : '\0';
      if (sign == '-') {
        text.erase(text.find_last_not_of(kSpace) + 1);
      } else if (sign != '+' && kind != '{') {
        strip_line_start(text);
      }
      add_text(std::move(text));
      advance(open + (sign == '-' || sign == '+' ? 3 : 2));
      if (kind == '#') {
        comment();
      } else {
        tag(kind == '{' ? Segment::Kind::expression : Segment::Kind::statement);
      }
    }
    return std::move(segments_);
  }

 private:
  std::size_t next_tag() const {
    for (std::size_t at = source_.find('{', position_); at != std::string::npos;
         at = source_.find('{', at + 1)) {
      const char next = at + 1 < source_.size() ? source_[at + 1] : '\0';
      if (next == '{' || next == '%' || next == '#') return at;
    }
    return source_.size();
  }

  void advance(std::size_t to) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(position_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(to), '\n'));
    position_ = to;
  }

  bool looking_at(std::string_view text) const {
    return source_.compare(position_, text.size(), text) == 0;
  }

  void add_text(std::string text) {
    if (!text.empty()) segments_.push_back({Segment::Kind::text, std::move(text), {}, line_});
  }

  // lstrip_blocks: nothing but white space between the line's start and the tag.
  void strip_line_start(std::string& text) const {
    const std::size_t newline = text.rfind('\n');
    if (newline == std::string::npos && !line_starting_) return;
    const std::size_t start = newline == std::string::npos ? 0 : newline + 1;
    if (text.find_first_not_of(kSpace, start) == std::string::npos) text.erase(start);
  }

  // Past the tag's end and the white space that goes with it; `trim`: a newline too (trim_blocks).
  void finish_tag(char sign, bool trim) {
    std::size_t to = position_ + (sign == '\0' ? 2 : 3);
    if (sign == '-') {
      to = std::min(source_.find_first_not_of(kSpace, to), source_.size());
    } else if (trim && sign != '+' && to < source_.size() && source_[to] == '\n') {
      ++to;
    }
    advance(to);
    line_starting_ = source_[to - 1] == '\n';
  }

  void comment() {
    const std::size_t end = source_.find("#}", position_);
    if (end == std::string::npos) refuse(line_, "a comment does not end");
    const char before = end > position_ ? source_[end - 1] : '\0';
    const char sign = before == '-' || before == '+' ? before : '\0';
    advance(end - (sign == '\0' ? 0 : 1));
    finish_tag(sign, true);
  }

  void tag(Segment::Kind kind) {
    Segment segment{kind, {}, {}, line_};
    const std::string close = kind == Segment::Kind::expression ? "}}" : "%}";
    int depth = 0;
    for (;;) {
      const std::size_t at = source_.find_first_not_of(kSpace, position_);
      if (at == std::string::npos) refuse(segment.line, "a tag does not end");
      advance(at);
      const char sign = looking_at("-" + close) ? '-' : looking_at("+" + close) ? '+' : '\0';
      if (depth == 0 && (sign != '\0' || looking_at(close))) {
        finish_tag(sign, kind == Segment::Kind::statement);
        break;
      }
      segment.tokens.push_back(token());
      if (segment.tokens.back().kind != Token::Kind::sign) continue;
      const char bracket = segment.tokens.back().text[0];
      if (bracket == '(' || bracket == '[' || bracket == '{') ++depth;
      if (bracket == ')' || bracket == ']' || bracket == '}') --depth;
    }
    segment.tokens.push_back({});
    segments_.push_back(std::move(segment));
  }

  Token token() {
    const char c = source_[position_];
    if (c == '"' || c == '\'') return string(c);
    const std::size_t start = position_;
    if (is_name(c)) {
      while (position_ < source_.size() && is_name(source_[position_])) ++position_;
      std::string word = source_.substr(start, position_ - start);
      if (!is_digit(c)) return {Token::Kind::name, std::move(word), 0};
      return integer(std::move(word));
    }
    constexpr std::array<std::string_view, 26> kSigns{
        "==", "!=", "<=", ">=", "//", "**", "<", ">", "+", "-", "*", "/", "%",
        "~",  "|",  ".",  ",",  ":",  "(",  ")", "[", "]", "{", "}", "=", ";"};
    for (const std::string_view sign : kSigns) {
      if (!looking_at(sign)) continue;
      position_ += sign.size();
      return {Token::Kind::sign, std::string(sign), 0};
    }
    refuse(line_, fmt::format("character \"{}\"", shown(source_.substr(position_, 1))));
  }

  Token integer(std::string word) const {
    const bool decimal = std::all_of(word.begin(), word.end(), is_digit) && word.size() <= 18;
    const bool fraction = position_ + 1 < source_.size() && source_[position_] == '.' &&
                          is_digit(source_[position_ + 1]);
    if (!decimal || fraction) refuse(line_, fmt::format("number {}", shown(word)));
    const std::int64_t value = std::stoll(word);
    return {Token::Kind::integer, std::move(word), value};
  }

  Token string(char quote) {
    Token token{Token::Kind::text, {}, 0};
    std::size_t at = position_ + 1;
    for (;; ++at) {
      if (at >= source_.size()) refuse(line_, "a string does not end");
      if (source_[at] == quote) break;
      if (source_[at] != '\\') {
        token.text.push_back(source_[at]);
        continue;
      }
      const char escaped = ++at < source_.size() ? source_[at] : '\0';
      switch (escaped) {
        case 'n':
          token.text.push_back('\n');
          break;
        case 't':
          token.text.push_back('\t');
          break;
        case 'r':
          token.text.push_back('\r');
          break;
        case '\\':
        case '\'':
        case '"':
          token.text.push_back(escaped);
          break;
        default:
          refuse(line_, fmt::format("escape \\{}", shown({&escaped, 1})));
      }
    }
    advance(at + 1);
    return token;
  }

  std::string source_;
  std::size_t position_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<Segment> segments_;
};

}  // namespace

void refuse(int line, std::string_view what) {
  fail(ErrorKind::unsupported,
       "chat template line {}: {} is not supported; render the messages yourself and pass the "
       "prompt as plain text",
       line, what);
}

std::vector<Segment> segments(std::string_view source) { return Lexer(unix_lines(source)).run(); }

}  // namespace sluice::tokenizer::jinja
