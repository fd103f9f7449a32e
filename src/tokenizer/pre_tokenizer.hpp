// How text is cut into words before merging: merges never cross a word's end.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tokenizer/regex.hpp"

namespace sluice::tokenizer {

// Words of `text`: the spans, in order; they need not cover it.
struct Words {
  std::string text;
  std::vector<Span> spans;
};

enum class SplitBehavior {
  isolated,
  removed,
  merged_with_previous,
  merged_with_next,
  contiguous,
};

struct Split {
  std::variant<Regex, std::string> pattern;  // a string is looked for literally
  SplitBehavior behavior = SplitBehavior::isolated;
  bool invert = false;
};

struct ByteLevel {
  bool add_prefix_space = true;
  bool use_regex = true;  // GPT-2's pattern first
};

using PreTokenizerStep = std::variant<Split, ByteLevel>;

class PreTokenizer {
 public:
  // Throws Error(unsupported) unless exactly one step is ByteLevel: the models here are byte-level.
  explicit PreTokenizer(std::vector<PreTokenizerStep> steps);
  Words words(std::string_view text) const;

 private:
  std::vector<PreTokenizerStep> steps_;
};

Split digits(bool individual);

}  // namespace sluice::tokenizer
