// Memory that runs out while a pool is made: an exception, and no thread left behind. A program of
// its own, because it replaces operator new.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <limits>
#include <new>
#include <sluice/executor.hpp>

namespace {

std::atomic<int> allocations_left{std::numeric_limits<int>::max()};

}  // namespace

// Not inlined: the compiler would see free() of what it knows to come from new.
[[gnu::noinline]] void* operator new(std::size_t bytes) {
  if (allocations_left.fetch_sub(1) <= 0) throw std::bad_alloc();
  void* memory = std::malloc(bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace sluice {
namespace {

TEST(ExecutorMemory, RunningOutAnywhereLeavesNoThreads) {
  constexpr int kMany = 100;
  int enough = 0;
  for (; enough < kMany; ++enough) {
    std::shared_ptr<Executor> executor;
    allocations_left = enough;
    try {
      executor = make_executor(6);
    } catch (const std::bad_alloc&) {
    }
    allocations_left = std::numeric_limits<int>::max();
    if (executor) break;
  }
  EXPECT_GT(enough, 5) << "a thread allocates what it runs";
  EXPECT_LT(enough, kMany);
}

}  // namespace
}  // namespace sluice
