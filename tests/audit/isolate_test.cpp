#include "audit/isolate.hpp"

#include <gtest/gtest.h>

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <sluice/error.hpp>
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

// Longer than one wait for the child, and far from the limit.
TEST(Isolate, HearsFromAChildThatWasSilent) {
  const Isolated outcome = run_isolated(
      [](const Reporter& report) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1300));
        report.say("exact");
        return 0;
      },
      20);
  EXPECT_TRUE(outcome.finished) << outcome.what;
  EXPECT_EQ(outcome.during, "exact");
}

// Ctrl-C ends the parent alone: the child is in a group of its own.
TEST(Isolate, AnEndlessLoopEndsWithItsParent) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t parent = fork();
  ASSERT_GE(parent, 0);
  if (parent == 0) {
    close(ends[0]);
    run_isolated(
        [&](const Reporter&) -> int {
          if (write(ends[1], "!", 1) != 1) return 1;
          for (;;) std::this_thread::sleep_for(std::chrono::seconds(1));
        },
        60);
    std::_Exit(0);
  }
  close(ends[1]);
  char begun = 0;
  ASSERT_EQ(read(ends[0], &begun, 1), 1);
  ASSERT_EQ(kill(parent, SIGINT), 0);
  // The end of the file: nobody is left who could write.
  pollfd closed{ends[0], POLLIN, 0};
  EXPECT_EQ(poll(&closed, 1, 20000), 1);
  close(ends[0]);
  waitpid(parent, nullptr, 0);
}

TEST(Isolate, TurnsAnExceptionIntoBadInput) {
  testing::internal::CaptureStderr();
  const Isolated thrown =
      run_isolated([](const Reporter&) -> int { throw std::runtime_error("no such file"); }, 20);
  EXPECT_TRUE(thrown.finished);
  EXPECT_EQ(thrown.exit_code, 2);
  const Isolated ours = run_isolated(
      [](const Reporter&) -> int { throw Error(ErrorKind::unsupported, "no such layer"); }, 20);
  EXPECT_EQ(ours.exit_code, 2);
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "sluice: error: no such file (internal)\nsluice: error: no such layer (unsupported)\n");
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
