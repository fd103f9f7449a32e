// The syntax tree of a chat template.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tokenizer/jinja/value.hpp"

namespace sluice::tokenizer::jinja {

struct Expression {
  enum class Kind {
    literal,      // value
    name,         // text
    list,         // parts
    mapping,      // parts: key, value, key, value …
    attribute,    // parts[0] . text
    item,         // parts[0] [ parts[1] ]
    slice,        // parts[0] [ parts[1] : parts[2] : parts[3] ]; left out: undefined literals
    call,         // parts[0] ( parts[1] … ); names[i]: the keyword of parts[i], or empty
    filter,       // parts[0] | text ( parts[1] … )
    test,         // parts[0] is text ( parts[1] … )
    negation,     // not parts[0]
    minus,        // - parts[0]
    conjunction,  // parts[0] and parts[1]
    disjunction,  // parts[0] or parts[1]
    binary,       // parts[0] text parts[1]
    choice,       // parts[1] if parts[0] else parts[2]
  };
  Kind kind = Kind::literal;
  int line = 0;
  std::string text;
  Value value;
  std::vector<Expression> parts;
  std::vector<std::string> names;
  int height = 1;  // of the tree: bounded, because trees are walked and freed recursively
};

struct Statement {
  enum class Kind {
    text,        // text
    output,      // expressions[0]
    condition,   // expressions[i] -> branches[i]; branches.back(): else
    loop,        // names in expressions[0], where expressions[1]; branches[0], else branches[1]
    assignment,  // text [. attribute] = expressions[0]
    capture,     // text = what branches[0] prints
    macro,       // text(names) prints branches[0]; expressions[i]: the default of names[i]
    stop,        // break
    skip,        // continue
  };
  Kind kind = Kind::text;
  int line = 0;
  std::string text;
  std::string attribute;
  std::vector<std::string> names;
  std::vector<Expression> expressions;
  std::vector<std::vector<Statement>> branches;
};

using Block = std::vector<Statement>;

}  // namespace sluice::tokenizer::jinja
