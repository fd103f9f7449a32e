// Regular expressions of untrusted files, run by PCRE2 under limits.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::tokenizer {

struct Span {
  std::size_t begin, end;  // bytes
  bool matched;
};

// Immutable; may be used from several threads at once.
class Regex {
 public:
  // Throws Error(unsupported) for a pattern that regex_dialect or PCRE2 refuses.
  explicit Regex(std::string_view pattern);

  // Cuts valid UTF-8 text into matches and what lies between, in order, without gaps. Throws
  // Error(unsupported) when the pattern exceeds the limits on steps or memory for this text.
  void split(std::string_view text, std::vector<Span>& spans) const;

 private:
  struct Code;
  std::shared_ptr<const Code> code_;
  std::string pattern_;
};

}  // namespace sluice::tokenizer
