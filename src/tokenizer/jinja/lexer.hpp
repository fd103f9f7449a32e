// A chat template's source as text and tags, white space around tags already dealt with.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::tokenizer::jinja {

struct Token {
  enum class Kind { name, text, integer, sign, end };
  Kind kind = Kind::end;
  std::string text;  // of a string: its value
  std::int64_t number = 0;
};

struct Segment {
  enum class Kind { text, expression, statement };
  Kind kind = Kind::text;
  std::string text;           // of a text
  std::vector<Token> tokens;  // of a tag; the last is Kind::end
  int line = 0;
};

// With trim_blocks and lstrip_blocks, as transformers sets them; comments are dropped.
// Throws Error(unsupported) with the line.
std::vector<Segment> segments(std::string_view source);

// "chat template line N: what; pass the prompt as plain text instead of chat messages"
[[noreturn]] void refuse(int line, std::string_view what);

}  // namespace sluice::tokenizer::jinja
