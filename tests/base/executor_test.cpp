#include <gtest/gtest.h>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include <sluice/error.hpp>
#include <sluice/executor.hpp>

namespace sluice {
namespace {

class Workers : public testing::TestWithParam<int> {};

TEST_P(Workers, EachRunsOnceAndAllAreDoneOnReturn) {
  const auto executor = make_executor(GetParam());
  ASSERT_EQ(executor->workers(), GetParam());
  std::vector<int> calls(static_cast<std::size_t>(GetParam()));
  for (int round = 1; round <= 300; ++round) {
    auto count = [&](int worker) { ++calls[static_cast<std::size_t>(worker)]; };
    executor->run(count);
    for (int call : calls) ASSERT_EQ(call, round);
  }
}

TEST_P(Workers, OneExceptionComesBackAndThePoolLivesOn) {
  const auto executor = make_executor(GetParam());
  std::atomic<int> ran{0};
  auto fail_all = [&](int) {
    ++ran;
    throw std::runtime_error("from a worker");
  };
  EXPECT_THROW(executor->run(fail_all), std::runtime_error);
  EXPECT_EQ(ran, GetParam());
  auto succeed = [&](int) { ++ran; };
  executor->run(succeed);
  EXPECT_EQ(ran, 2 * GetParam());
}

TEST_P(Workers, RefuseToRunFromTheirOwnTasks) {
  const auto executor = make_executor(GetParam());
  const auto other = make_executor(2);
  std::atomic<int> refused{0};
  auto nothing = [](int) {};
  auto again = [&](int) {
    try {
      executor->run(nothing);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::user);
      EXPECT_NE(std::string(error.what()).find("one of its own tasks"), std::string::npos);
      ++refused;
    }
  };
  executor->run(again);
  EXPECT_EQ(refused, GetParam());
  // The caller's thread is still in the outer task when it is in one of another pool.
  auto by_way_of_another = [&](int worker) {
    if (worker > 0) return;
    auto first = [&](int inner) {
      if (inner == 0) again(0);
    };
    other->run(first);
  };
  refused = 0;
  executor->run(by_way_of_another);
  EXPECT_EQ(refused, 1);
  executor->run(nothing);
}

#if defined(__x86_64__)
TEST_P(Workers, ComputeAlikeWhateverTheCallersFloatMode) {
  constexpr unsigned kFtzDazUpward = 0x8040 | 0x4000;
  const unsigned before = _mm_getcsr();
  for (unsigned at_start : {0u, kFtzDazUpward}) {
    _mm_setcsr(before | at_start);
    const auto executor = make_executor(GetParam());
    _mm_setcsr(before | kFtzDazUpward);
    std::vector<unsigned> modes(static_cast<std::size_t>(GetParam()));
    auto read = [&](int worker) { modes[static_cast<std::size_t>(worker)] = _mm_getcsr(); };
    executor->run(read);
    auto fail = [](int) { throw std::runtime_error("from a worker"); };
    EXPECT_THROW(executor->run(fail), std::runtime_error);
    const unsigned after = _mm_getcsr();
    _mm_setcsr(before);
    constexpr unsigned kFlags = 0x3f;  // what happened so far, not a mode
    EXPECT_EQ(after & ~kFlags, (before | kFtzDazUpward) & ~kFlags) << "the caller's mode is kept";
    for (unsigned mode : modes) EXPECT_EQ(mode & ~kFlags, 0x1f80u);
  }
}
#endif

INSTANTIATE_TEST_SUITE_P(Counts, Workers, testing::Values(1, 2, 5));

TEST(MakeExecutor, RefusesNegativeCountsAndNonsenseInTheEnvironment) {
  EXPECT_THROW(make_executor(-1), Error);
  EXPECT_THROW(make_executor(100000), Error);
  setenv("SLUICE_THREADS", "two", 1);
  EXPECT_THROW(make_executor(), Error);
  setenv("SLUICE_THREADS", "3", 1);
  EXPECT_EQ(make_executor()->workers(), 3);
  unsetenv("SLUICE_THREADS");
}

}  // namespace
}  // namespace sluice
