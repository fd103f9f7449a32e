#include "generate/stop_text.hpp"

#include <algorithm>

#include "base/fail.hpp"

namespace sluice {

StopText::StopText(std::vector<std::string> stops) : stops_(std::move(stops)) {
  for (const std::string& stop : stops_) {
    if (stop.empty()) fail(ErrorKind::user, "a stop string is empty; leave it out instead");
  }
}

std::size_t StopText::longest_match_at_end() const {
  std::size_t longest = 0;
  for (const std::string& stop : stops_) {
    if (held_.ends_with(stop)) longest = std::max(longest, stop.size());
  }
  return longest;
}

// Length of the longest end of held_ with which a stop string begins.
std::size_t StopText::longest_partial_match() const {
  std::size_t longest = 0;
  for (const std::string& stop : stops_) {
    for (std::size_t length = std::min(held_.size(), stop.size() - 1); length > longest; --length) {
      if (held_.ends_with(std::string_view(stop).substr(0, length))) longest = length;
    }
  }
  return longest;
}

std::string StopText::push(std::string_view text) {
  std::string safe;
  for (const char byte : text) {
    if (stopped_) break;
    held_ += byte;
    if (const std::size_t match = longest_match_at_end()) {
      safe.append(held_, 0, held_.size() - match);
      held_.clear();
      stopped_ = true;
      break;
    }
    const std::size_t keep = longest_partial_match();
    safe.append(held_, 0, held_.size() - keep);
    held_.erase(0, held_.size() - keep);
  }
  return safe;
}

std::string StopText::finish() { return std::exchange(held_, {}); }

}  // namespace sluice
