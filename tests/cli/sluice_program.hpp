// Runs the built program as a user does.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

#include "eval/scratch_directory.hpp"

namespace sluice::test {

struct Outcome {
  int code = -1;
  std::string out;
  std::string err;
};

// `arguments` are shell words; the environment's choices must not leak into the test, which makes
// its own: "NAME=value".
inline Outcome run_sluice(const std::string& arguments, const std::string& environment = "") {
  const ScratchDirectory scratch;
  const std::string command = "env -u SLUICE_BACKEND -u SLUICE_ISA SLUICE_THREADS=2 " +
                              environment + " '" + std::string(SLUICE_BINARY_DIR) +
                              "/bin/sluice' " + arguments + " >'" + scratch.file("out") + "' 2>'" +
                              scratch.file("err") + "' </dev/null";
  const int status = std::system(command.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, scratch.read("out"), scratch.read("err")};
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// Bad usage or input: exit 2, nothing on stdout, an error of ours that holds `part`.
inline void expect_refusal(const std::string& arguments, const std::string& part) {
  const Outcome outcome = run_sluice(arguments);
  EXPECT_EQ(outcome.code, 2) << arguments << "\n" << outcome.err;
  EXPECT_EQ(outcome.out, "") << arguments;
  EXPECT_TRUE(outcome.err.starts_with("sluice: error: ")) << arguments << "\n" << outcome.err;
  EXPECT_TRUE(contains(outcome.err, part)) << arguments << "\n" << outcome.err;
}

inline Outcome expect_success(const std::string& arguments) {
  Outcome outcome = run_sluice(arguments);
  EXPECT_EQ(outcome.code, 0) << arguments << "\n" << outcome.err;
  return outcome;
}

}  // namespace sluice::test
