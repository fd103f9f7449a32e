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

// What the work speaks through.
struct Reporter {
  std::function<void(std::string_view what)> say;    // what it does now
  std::function<void(std::string_view text)> print;  // its result, to standard output
};

// Runs `work` in a child of this process and returns when the child has ended or been killed.
// `work` returns the exit code. The child shares files and standard error with its parent;
// standard output is reached by Reporter::print alone: what else is printed there in the child,
// by code that is somebody else's, goes to standard error. To be called while this process has one
// thread.
Isolated run_isolated(const std::function<int(const Reporter&)>& work, double seconds);

}  // namespace sluice::auditing
