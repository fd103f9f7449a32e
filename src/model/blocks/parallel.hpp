// Independent pieces of work over an executor. Which worker computes a piece never changes its
// result, so results do not depend on the number of threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include <sluice/executor.hpp>

namespace sluice {

// Multiply-adds that take one core about as long as waking the others.
inline constexpr std::int64_t kWorthWaking = std::int64_t{1} << 19;

// Calls work(index, worker) once for each index in [0, count), in any order. `cost`: of all
// together, in multiply-adds; little work stays on the calling thread.
template <typename Work>
void parallel_for(Executor& executor, std::int64_t count, std::int64_t cost, const Work& work) {
  if (count <= 1 || cost < kWorthWaking || executor.workers() == 1) {
    for (std::int64_t index = 0; index < count; ++index) work(index, 0);
    return;
  }
  std::atomic<std::int64_t> next{0};
  auto task = [&](int worker) {
    for (std::int64_t index = next.fetch_add(1); index < count; index = next.fetch_add(1)) {
      work(index, worker);
    }
  };
  executor.run(task);
}

// Calls work(first, last) on ranges that cover [0, rows). A range is at least `grain` rows (but for
// the last): waking a thread costs more than a few rows of elementwise work.
template <typename Work>
void parallel_rows(Executor& executor, std::int64_t rows, std::int64_t grain, const Work& work) {
  const std::int64_t pieces =
      std::clamp<std::int64_t>(rows / std::max<std::int64_t>(grain, 1), 1, executor.workers());
  parallel_for(executor, rows == 0 ? 0 : pieces, kWorthWaking, [&](std::int64_t piece, int) {
    work(rows * piece / pieces, rows * (piece + 1) / pieces);
  });
}

// Rows of elementwise work worth a thread: about 16 Ki elements.
inline std::int64_t row_grain(std::int64_t columns) {
  return std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(columns, 1));
}

}  // namespace sluice
