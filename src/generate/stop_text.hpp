// Stop strings on streamed text: passes on what can no longer become part of one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sluice {

class StopText {
 public:
  // Throws Error(user) for an empty stop string.
  explicit StopText(std::vector<std::string> stops);
  // Returns the text that is safe to show. After a match everything is swallowed.
  std::string push(std::string_view text);
  // The text ends here: what was held back.
  std::string finish();
  bool stopped() const { return stopped_; }

 private:
  std::size_t longest_match_at_end() const;
  std::size_t longest_partial_match() const;

  std::vector<std::string> stops_;
  std::string held_;  // a proper prefix of a stop string
  bool stopped_ = false;
};

}  // namespace sluice
