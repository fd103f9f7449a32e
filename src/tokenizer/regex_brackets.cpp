#include "tokenizer/regex_brackets.hpp"

#include <optional>
#include <utility>

#include "base/fail.hpp"
#include "tokenizer/regex_escape.hpp"

namespace sluice::tokenizer {
namespace {

// One member of a class: a single character, or a set.
std::pair<std::optional<char32_t>, CharacterSet> class_member(RegexReader& reader, int depth) {
  if (reader.looking_at("[:")) {
    const std::size_t end = reader.pattern().find(":]", reader.position() + 2);
    if (end != std::string_view::npos) {
      reader.move_to(reader.position() + 2);
      const bool negated = reader.take("^");
      return {std::nullopt, named_set(reader, ":]", negated)};
    }
  }
  if (reader.take("[")) {
    if (reader.peek() == '^') reader.refuse_if_caseless("a class in a class");
    return {std::nullopt, character_class(reader, depth + 1)};
  }
  if (reader.take("\\")) {
    const char32_t letter = reader.next_character();
    if (const auto set = escaped_set(reader, letter)) return {std::nullopt, *set};
    if (letter == 'b') return {U'\b', {}};
    const auto c = escaped_character(reader, letter);
    if (!c) reader.refuse(fmt::format("escape \\{} in a class", static_cast<char>(letter)));
    return {c, {}};
  }
  return {reader.next_character(), {}};
}

CharacterSet class_operand(RegexReader& reader, int depth) {
  CharacterSet operand;
  for (bool first = true; reader.at_end() || (first || reader.peek() != ']'); first = false) {
    if (reader.looking_at("&&")) return operand;
    auto [low, set] = class_member(reader, depth);
    if (!low) {
      operand.add(std::move(set));
      continue;
    }
    operand.body += literal(*low);
    const bool range =
        reader.peek() == '-' && !reader.looking_at("-]") && !reader.looking_at("-&&");
    if (!range) continue;
    reader.skip();
    const auto high = class_member(reader, depth).first;
    if (!high || *low > *high) reader.refuse("a range in a class has no upper end above its lower");
    operand.body += fmt::format("-{}", literal(*high));
  }
  return operand;
}

}  // namespace

CharacterSet character_class(RegexReader& reader, int depth) {
  if (depth > kMaxRegexNesting)
    reader.refuse(fmt::format("classes nest deeper than {}", kMaxRegexNesting));
  const bool negated = reader.take("^");
  CharacterSet set = class_operand(reader, depth);
  while (reader.take("&&")) {
    reader.refuse_if_caseless("&&");
    set.others.push_back(reader.peek() == ']' ? CharacterSet{} : class_operand(reader, depth));
  }
  if (!reader.take("]")) reader.refuse("missing ]");
  set.negated = negated;
  return set;
}

}  // namespace sluice::tokenizer
