#include "audit/isolate.hpp"

#include <gtest/gtest.h>

#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <thread>

namespace sluice::auditing {
namespace {

TEST(Isolate, ReturnsTheChildsExitCode) {
  const Isolated outcome = run_isolated([](const Reporter&) { return 7; }, 20);
  EXPECT_TRUE(outcome.finished);
  EXPECT_EQ(outcome.exit_code, 7);
}

TEST(Isolate, SurvivesACrashAndKnowsWhere) {
  const Isolated outcome = run_isolated(
      [](const Reporter& report) {
        report.say("load");
        report.say("exact");
        std::signal(SIGABRT, SIG_DFL);
        std::raise(SIGABRT);
        return 0;
      },
      20);
  EXPECT_FALSE(outcome.finished);
  EXPECT_EQ(outcome.what, "crashed with SIGABRT");
  EXPECT_EQ(outcome.during, "exact");
}

// exit(0) in somebody else's code must not read as "nothing was lost".
TEST(Isolate, SeesCodeThatEndsTheProcess) {
  const Isolated outcome = run_isolated(
      [](const Reporter& report) -> int {
        report.say("exact");
        std::_Exit(0);
      },
      20);
  EXPECT_FALSE(outcome.finished);
  EXPECT_EQ(outcome.what, "ended the process with exit code 0");
  EXPECT_EQ(outcome.during, "exact");
}

TEST(Isolate, EndsAnEndlessLoop) {
  const Isolated outcome = run_isolated(
      [](const Reporter& report) -> int {
        report.say("poison");
        for (;;) std::this_thread::sleep_for(std::chrono::seconds(1));
      },
      0.3);
  EXPECT_FALSE(outcome.finished);
  EXPECT_EQ(outcome.what, "ran longer than 0.3 s");
  EXPECT_EQ(outcome.during, "poison");
}

TEST(Isolate, TurnsAnExceptionIntoBadInput) {
  const Isolated outcome =
      run_isolated([](const Reporter&) -> int { throw std::runtime_error("no such file"); }, 20);
  EXPECT_TRUE(outcome.finished);
  EXPECT_EQ(outcome.exit_code, 2);
}

// A plugin that prints must not break the report that a program reads.
TEST(Isolate, KeepsStandardOutputForTheReport) {
  testing::internal::CaptureStdout();
  const Isolated outcome = run_isolated(
      [](const Reporter& report) {
        std::printf("buffered until the end\n");
        const bool written = write(STDOUT_FILENO, "at once\n", 8) == 8;
        report.print("the report");
        return written ? 0 : 1;
      },
      20);
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "the report");
  EXPECT_TRUE(outcome.finished);
  EXPECT_EQ(outcome.exit_code, 0);
}

}  // namespace
}  // namespace sluice::auditing
