// The regular expressions of tokenizer files are written for Oniguruma (Hugging Face) or Rust's
// regex crates (tiktoken); PCRE2 reads the same characters differently here and there. This
// translates, and refuses by name what it does not know.
#pragma once

#include <string>
#include <string_view>

namespace sluice::tokenizer {

// Differences taken care of: `&&` and nested classes; \s, \w, \b and POSIX names with their Unicode
// meaning; scripts (PCRE2's \p{Han} means script *extensions*); \v and \h; {,n}; {n}? and {n,m}+;
// (?m:…) for "dot matches newline"; ^ and $ at every line. Groups never capture.
// Throws Error(unsupported) naming the construct: back-references, recursion, \K, \G, (?x) …
std::string pcre2_pattern(std::string_view pattern);

}  // namespace sluice::tokenizer
