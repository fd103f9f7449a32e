// Somebody else's code in a child process: a crash or an endless loop is an answer, not our end.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace sluice::auditing {

struct Isolated {
  bool finished = false;  // the child ran to its end
  int exit_code = 0;      // its own, if it finished
  std::string what;       // otherwise: "crashed with SIGSEGV", "ran longer than 300 s",
                          // "ended the process with exit code 0"
  std::string during;     // the last thing that it said it was doing
};

// Runs `work` in a child of this process and returns when the child has ended or been killed.
// `work` gets a function that says what it does, and returns the exit code. The child shares
// stdout and files with its parent. To be called while this process has one thread.
using Say = std::function<void(std::string_view)>;
Isolated run_isolated(const std::function<int(const Say&)>& work, double seconds);

}  // namespace sluice::auditing
