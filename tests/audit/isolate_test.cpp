#include "audit/isolate.hpp"

#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <stdexcept>
#include <thread>

namespace sluice::auditing {
namespace {

TEST(Isolate, ReturnsTheChildsExitCode) {
  const Isolated outcome = run_isolated([](const Say&) { return 7; }, 20);
  EXPECT_TRUE(outcome.finished);
  EXPECT_EQ(outcome.exit_code, 7);
}

TEST(Isolate, SurvivesACrashAndKnowsWhere) {
  const Isolated outcome = run_isolated(
      [](const Say& say) {
        say("load");
        say("exact");
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
      [](const Say& say) -> int {
        say("exact");
        std::_Exit(0);
      },
      20);
  EXPECT_FALSE(outcome.finished);
  EXPECT_EQ(outcome.what, "ended the process with exit code 0");
  EXPECT_EQ(outcome.during, "exact");
}

TEST(Isolate, EndsAnEndlessLoop) {
  const Isolated outcome = run_isolated(
      [](const Say& say) -> int {
        say("poison");
        for (;;) std::this_thread::sleep_for(std::chrono::seconds(1));
      },
      0.3);
  EXPECT_FALSE(outcome.finished);
  EXPECT_EQ(outcome.what, "ran longer than 0.3 s");
  EXPECT_EQ(outcome.during, "poison");
}

TEST(Isolate, TurnsAnExceptionIntoBadInput) {
  const Isolated outcome =
      run_isolated([](const Say&) -> int { throw std::runtime_error("no such file"); }, 20);
  EXPECT_TRUE(outcome.finished);
  EXPECT_EQ(outcome.exit_code, 2);
}

}  // namespace
}  // namespace sluice::auditing
