// A progress line on stderr: only on a terminal, and only for what takes more than two seconds.
#pragma once

#include <chrono>
#include <string>

namespace sluice::cli {

class ProgressLine {
 public:
  explicit ProgressLine(std::string what);
  ~ProgressLine();  // clears the line
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  void update(double done, double total, const std::string& note = {});
  // Before something else is printed to the terminal.
  void clear();

 private:
  std::string what_;
  bool terminal_;
  bool shown_ = false;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point last_;
};

}  // namespace sluice::cli
