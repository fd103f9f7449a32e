// Everything that is wrong with one thing, as one error: one run of the user's shows it all.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/fail.hpp"

namespace sluice {

class Problems {
 public:
  // 20,000 tensors can all be wrong in the same way: further lines are only counted.
  static constexpr std::size_t kMostLines = 20;

  template <typename... Args>
  void add(fmt::format_string<Args...> text, Args&&... args) {
    ++count_;
    if (lines_.size() < kMostLines) {
      lines_.push_back(fmt::format(text, std::forward<Args>(args)...));
    }
  }

  // Throws Error(kind) unless nothing was added.
  void raise(ErrorKind kind, std::string_view what) const {
    if (count_ == 0) return;
    const std::size_t more = count_ - lines_.size();
    fail(kind, "{}:\n  {}{}", what, fmt::join(lines_, "\n  "),
         more > 0 ? fmt::format("\n  and {} more", more) : "");
  }

 private:
  std::vector<std::string> lines_;
  std::size_t count_ = 0;
};

}  // namespace sluice
