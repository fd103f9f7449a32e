// Character classes with intersections and nesting, written with what PCRE2 has: plain classes,
// alternatives and lookaheads.
#pragma once

#include <string>
#include <vector>

namespace sluice::tokenizer {

// A set of characters in PCRE2's notation. `body` goes between brackets; the set is the union of
// body and nested, cut with each of `others`, then complemented if `negated`.
struct CharacterSet {
  std::string body;
  std::vector<CharacterSet> nested;
  std::vector<CharacterSet> others;
  bool negated = false;

  bool plain() const { return nested.empty() && others.empty(); }
  void add(CharacterSet set);   // union, into this operand
  std::string pattern() const;  // an atom that matches one character of the set
};

}  // namespace sluice::tokenizer
