// Everything that is wrong with a checkpoint, as one error: one run of the user's shows it all.
#pragma once

#include <string>
#include <vector>

#include "base/fail.hpp"

namespace sluice {

class Problems {
 public:
  static constexpr std::size_t kMostLines = 20;

  template <typename... Args>
  void add(fmt::format_string<Args...> text, Args&&... args) {
    ++count_;
    if (lines_.size() < kMostLines)
      lines_.push_back(fmt::format(text, std::forward<Args>(args)...));
  }
  bool any() const { return count_ > 0; }
  // Throws Error(checkpoint) unless nothing was added.
  void raise(const std::string& what) const {
    if (count_ == 0) return;
    const std::size_t more = count_ - lines_.size();
    fail(ErrorKind::checkpoint, "{}:\n  {}{}", what, fmt::join(lines_, "\n  "),
         more > 0 ? fmt::format("\n  and {} more", more) : "");
  }

 private:
  std::vector<std::string> lines_;
  std::size_t count_ = 0;
};

}  // namespace sluice
