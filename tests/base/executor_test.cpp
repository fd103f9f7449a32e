#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
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
