// Pools after a fork. Not among the tests for the thread sanitizer, which forbids threads there.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <sluice/error.hpp>
#include <sluice/executor.hpp>
#include <string>
#include <thread>

namespace sluice {
namespace {

// What a forked child, which has none of the threads, does within ten seconds: its exit status.
template <typename Action>
int in_child(Action action) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(10);
    _exit(action());
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

TEST(ForkedChild, IsToldThatTheThreadsAreTheParents) {
  auto executor = make_executor(3);
  std::atomic<int> ran{0};
  auto task = [&](int) { ++ran; };
  executor->run(task);
  const int status = in_child([&] {
    try {
      executor->run(task);
      return 1;
    } catch (const Error& error) {
      const std::string text = error.what();
      if (error.kind() != ErrorKind::user) return 2;
      if (text.find("make the layer in the child") == std::string::npos) return 3;
    }
    return ran == 3 ? 0 : 4;
  });
  EXPECT_EQ(status, 0);
  executor->run(task);
  EXPECT_EQ(ran, 6);
}

TEST(ForkedChild, MayDestroyTheParentsAndMakeItsOwn) {
  for (int sleep_ms : {0, 20}) {  // while workers spin, and while they sleep
    auto executor = make_executor(3);
    auto nothing = [](int) {};
    executor->run(nothing);
    std::this_thread::sleep_for(std::chrono::milliseconds(sleep_ms));
    const int status = in_child([&] {
      executor.reset();
      std::atomic<int> ran{0};
      auto task = [&](int) { ++ran; };
      make_executor(2)->run(task);
      return ran == 2 ? 0 : 1;
    });
    EXPECT_EQ(status, 0) << sleep_ms;
  }
}

TEST(ForkedChild, RunsWhatNeedsNoThreads) {
  auto executor = make_executor(1);
  const int status = in_child([&] {
    int ran = 0;
    auto task = [&](int) { ++ran; };
    executor->run(task);
    executor.reset();
    return ran == 1 ? 0 : 1;
  });
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace sluice
