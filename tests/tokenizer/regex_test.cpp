// Patterns written for Oniguruma or Rust's regex crates mean the same here, or are refused.
#include "tokenizer/regex.hpp"

#include <string>
#include <utility>
#include <vector>

#include "tokenizer/regex_dialect.hpp"
#include "tokenizer/support.hpp"
#include "tokenizer/utf8.hpp"

namespace sluice::tokenizer {
namespace {

std::vector<std::string> pieces(const Regex& regex, const std::string& text, bool matched) {
  std::vector<Span> spans;
  regex.split(text, spans);
  std::vector<std::string> result;
  for (const Span& span : spans) {
    if (span.matched == matched && span.begin != span.end) {
      result.push_back(text.substr(span.begin, span.end - span.begin));
    }
  }
  return result;
}

using Strings = std::vector<std::string>;

TEST(Regex, EqualsOnigurumaOnRandomPatterns) {
  const Json golden = read_json("regexes/regexes.json");
  ASSERT_GE(golden["cases"].size(), 300U);
  for (const Json& entry : golden["cases"]) {
    const std::string pattern = entry[0].get<std::string>();
    const Regex regex(pattern);
    for (const Json& result : entry[1]) {
      const std::string text = result[0].get<std::string>();
      EXPECT_EQ(pieces(regex, text, false), result[1].get<Strings>()) << pattern << " on " << text;
    }
  }
}

TEST(Regex, SpansCoverTheTextAndEmptyMatchesCutIt) {
  const Regex regex("(?=[A-Z])|x+");
  const std::string text = "aBxxC\u00e9D";
  std::vector<Span> spans;
  regex.split(text, spans);
  std::size_t at = 0;
  for (const Span& span : spans) {
    EXPECT_EQ(span.begin, at);
    at = span.end;
  }
  EXPECT_EQ(at, text.size());
  EXPECT_EQ(pieces(regex, text, false), (Strings{"a", "B", "C\u00e9", "D"}));
}

bool matches(const std::string& pattern, char32_t code) {
  std::string text;
  append_utf8(text, code);
  return pieces(Regex(pattern), text, true).size() == 1;
}

// Where PCRE2's own reading of the same characters is another.
TEST(Regex, ClassesHaveUnicodesMeaningNotPcre2s) {
  EXPECT_FALSE(matches("\\s", 0x180E));  // PCRE2 counts it as horizontal space
  EXPECT_TRUE(matches("\\s", 0x85));
  EXPECT_TRUE(matches("\\S", 0x200B));
  EXPECT_TRUE(matches("\\p{Han}", 0x4E2D));
  EXPECT_FALSE(matches("\\p{Han}", 0x3001));  // a script extension, not the script
  EXPECT_TRUE(matches("\\w", 0x301));         // marks are word characters
  EXPECT_TRUE(matches("\\w", 0x203F));
  EXPECT_FALSE(matches("\\w", 0x2460));
  EXPECT_TRUE(matches("\\h", 'F'));  // hexadecimal, not horizontal
  EXPECT_FALSE(matches("\\h", ' '));
  EXPECT_TRUE(matches("\\v", 0x0B));
  EXPECT_FALSE(matches("\\v", 0x0A));
  EXPECT_TRUE(matches("[[:punct:]]", '$'));
  EXPECT_FALSE(matches("\\p{Punct}", '$'));
  EXPECT_TRUE(matches("(?i:'s|k)", 0x212A));  // KELVIN SIGN
  EXPECT_FALSE(matches("(?i:k)(?-i:z)|z", 0x212A));
}

TEST(Regex, IntersectionsAndNestedClasses) {
  const std::string upper = R"([\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]])";
  EXPECT_TRUE(matches(upper, 'A'));
  EXPECT_TRUE(matches(upper, 0x5D0));  // a letter without case
  EXPECT_FALSE(matches(upper, 0x4E2D));
  EXPECT_FALSE(matches(upper, 'a'));
  EXPECT_TRUE(matches("[^a-c&&b-d]", 'a'));  // the complement is of the whole
  EXPECT_FALSE(matches("[^a-c&&b-d]", 'b'));
  EXPECT_TRUE(matches("[a[^b-z]]", '1'));
  EXPECT_FALSE(matches("[a[^b-z]]", 'c'));
  EXPECT_FALSE(matches("[a&&]", 'a'));
  EXPECT_TRUE(matches("[]a]", ']'));
  EXPECT_TRUE(matches("[a-]", '-'));
}

TEST(Regex, WhatIsNotKnownIsRefusedByName) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"(a)\\1", "escape \\1"},
      {"\\Ga", "escape \\G"},
      {"a\\Kb", "escape \\K"},
      {"\\X", "escape \\X"},
      {"(?x: a)", "group option (?x"},
      {"(?P<n>a)", "group option (?P"},
      {"(?R)", "group option (?R"},
      {"\\pL", "write \\p{L}"},
      {"\\p{Klingon}", "unknown character property \"Klingon\""},
      {"\\p{L", "does not end"},
      {"(?<=a+)b", "lookbehind assertion is not fixed length"},
      {"[z-a]", "upper end"},
      {"[a-\\d]", "upper end"},
      {"a{2,1}", "wrong order"},
      {"a{9999}", "exceeds 1000"},
      {"*a", "nothing to repeat"},
      {"a{1}{1}{1}{1}{1}{1}{1}{1}{1}{1}", "so many quantifiers"},
      {"(a", "missing )"},
      {"a)", "unmatched )"},
      {"[a", "ends too early"},
      {"\\xff", "raw byte"},
      {"(?i:\\p{Lu})", "where case is ignored"},
      {"(?i:stra\u00dfe)", "where case is ignored"},
      {"(?i)first", "ligature"},
      {std::string(70000, 'a'), "exceed the limit of 65536"},
      {std::string(200, '(') + std::string(200, ')'), "nest deeper than 100"},
      {"((((((a{1000}){1000}){1000}){1000}){1000}){1000})", "PCRE2 refuses it"}};
  for (const auto& [pattern, reason] : cases) {
    expect_error(ErrorKind::unsupported, reason, [&, text = pattern] { Regex regex(text); });
  }
}

TEST(Regex, CatastrophicPatternsGiveAnError) {
  // "bcx": PCRE2 does not even start where the pattern's last letter is missing.
  const std::string text = std::string(5000, 'a') + "bcx";
  for (const char* pattern : {"(?:a+)+$", "(?:a|a)*c", "(?:a*)*c"}) {
    const Regex regex(pattern);
    std::vector<Span> spans;
    expect_error(ErrorKind::unsupported, "gave up at byte", [&] { regex.split(text, spans); });
  }
}

TEST(Regex, LongRunsNeedNoStack) {
  const std::string text(200'000, 'a');
  EXPECT_EQ(pieces(Regex("[^\\r\\n]?\\p{L}+|\\s+"), text, true), Strings{text});
  EXPECT_EQ(pieces(Regex("(?:a)*"), text, true), Strings{text});
  EXPECT_EQ(pieces(Regex("(?:ab|a)*"), text, true), Strings{text});
}

// PCRE2 10.42 makes the first quantifier possessive and finds nothing.
TEST(Regex, NoQuantifierBecomesPossessiveByItself) {
  EXPECT_EQ(pieces(Regex("\\n*(?>(?:[0-9]{2})?)\\s"), "\n\nB", true), Strings{"\n\n"});
}

}  // namespace
}  // namespace sluice::tokenizer
