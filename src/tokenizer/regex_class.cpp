#include "tokenizer/regex_class.hpp"

#include <fmt/format.h>

#include <utility>

namespace sluice::tokenizer {
namespace {

constexpr const char* kNothing = "(?!)";
constexpr const char* kAnything = R"(\p{Any})";

std::string bracket(const std::string& body, bool negated) {
  if (body.empty()) return negated ? kAnything : kNothing;
  return fmt::format("[{}{}]", negated ? "^" : "", body);
}

}  // namespace

void CharacterSet::add(CharacterSet set) {
  if (set.plain() && !set.negated) {
    body += set.body;
  } else {
    nested.push_back(std::move(set));
  }
}

std::string CharacterSet::pattern() const {
  if (plain()) return bracket(body, negated);
  std::string positive;  // A && B && C: a lookahead for each, then A takes the character
  for (const CharacterSet& set : others) positive += fmt::format("(?={})", set.pattern());
  positive += fmt::format("(?:{}", bracket(body, false));
  for (const CharacterSet& set : nested) positive += fmt::format("|{}", set.pattern());
  positive += ')';
  return negated ? fmt::format("(?:(?!{}){})", positive, kAnything)
                 : fmt::format("(?:{})", positive);
}

}  // namespace sluice::tokenizer
