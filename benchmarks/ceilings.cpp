#include "ceilings.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>

#include "clock.hpp"

namespace sluice::bench {
namespace {

constexpr std::size_t kPiece = 1 << 20;

// Four streams, as kernels have: one alone does not keep enough lines in flight. The prefetch
// reaches past the 4 KiB at which hardware prefetchers stop.
std::uint64_t sum_of(const std::byte* data, std::size_t bytes) {
  constexpr std::size_t kStreams = 4;
  constexpr std::size_t kWords = 8;  // a line
  std::uint64_t sums[kStreams][kWords] = {};
  const std::size_t part = bytes / kStreams;
  for (std::size_t at = 0; at < part; at += kWords * sizeof(std::uint64_t)) {
    for (std::size_t stream = 0; stream < kStreams; ++stream) {
      std::uint64_t values[kWords];
      std::memcpy(values, data + stream * part + at, sizeof values);
      __builtin_prefetch(data + stream * part + at + 4096);
      for (std::size_t i = 0; i < kWords; ++i) sums[stream][i] += values[i];
    }
  }
  std::uint64_t sum = 0;
  for (const auto& stream : sums) {
    for (const std::uint64_t s : stream) sum += s;
  }
  return sum;
}

}  // namespace

Ceilings::Ceilings(Executor& executor, std::size_t bytes)
    : executor_(executor), memory_(bytes / kPiece * kPiece) {
  std::memset(memory_.data(), 1, memory_.size());
}

double Ceilings::read_bandwidth() {
  std::atomic<std::size_t> next{0};
  std::atomic<std::uint64_t> total{0};
  auto read = [&](int) {
    std::uint64_t sum = 0;
    for (;;) {
      const std::size_t at = next.fetch_add(kPiece);
      if (at >= memory_.size()) break;
      sum += sum_of(memory_.data() + at, kPiece);
    }
    total += sum;
  };
  const double begin = seconds();
  executor_.run(read);
  const double elapsed = seconds() - begin;
  // Uses the sum, so that the reads cannot be left out.
  return total == 0 ? 0.0 : static_cast<double>(memory_.size()) / elapsed;
}

double Ceilings::arithmetic(const ArithmeticLoop& loop) {
  constexpr double kSeconds = 0.002;
  constexpr int kTries = 5;
  std::int64_t rounds = 1024;
  double best = 0.0;
  for (int tries = 0; tries < kTries;) {
    auto multiply = [&](int) { loop.run(rounds); };
    const double begin = seconds();
    executor_.run(multiply);
    const double elapsed = seconds() - begin;
    if (elapsed < kSeconds) {
      rounds *= elapsed < kSeconds / 4 ? 4 : 2;
      continue;
    }
    best = std::max(best, static_cast<double>(rounds * loop.operations) / elapsed);
    ++tries;
  }
  return best * executor_.workers();
}

}  // namespace sluice::bench
