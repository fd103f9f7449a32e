// What this machine can do at most, measured now: other work on it changes the answer.
#pragma once

#include <sluice/executor.hpp>

#include "base/aligned_buffer.hpp"
#include "kernels/isa.hpp"

namespace sluice::bench {

class Ceilings {
 public:
  // `bytes` of memory to read: several times the last cache.
  Ceilings(Executor& executor, std::size_t bytes);
  // Reads all of it once, all workers together: bytes per second.
  double read_bandwidth();
  // Independent products in registers on all workers, the best of five times 2 ms: operations
  // per second.
  double arithmetic(const ArithmeticLoop& loop);

 private:
  Executor& executor_;
  AlignedBuffer memory_;
};

}  // namespace sluice::bench
