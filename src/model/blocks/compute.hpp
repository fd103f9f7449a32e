// What blocks need to run: threads, precision, and scratch that they share because they run one
// after the other.
#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <utility>

#include <sluice/executor.hpp>
#include <sluice/model.hpp>

#include "base/aligned_buffer.hpp"

namespace sluice {

struct Compute {
  std::shared_ptr<Executor> executor;
  ActivationPrecision precision = ActivationPrecision::f32;
  ForwardTimes times;

  // At least `bytes` of scratch, contents unspecified, valid until the next call.
  std::byte* scratch(std::size_t bytes) {
    if (bytes > scratch_.size()) scratch_ = AlignedBuffer(bytes);
    return scratch_.data();
  }

 private:
  AlignedBuffer scratch_;
};

// Adds the time of its own life to one of ForwardTimes' parts.
class Stopwatch {
 public:
  explicit Stopwatch(double& part) : part_(part), start_(Clock::now()) {}
  ~Stopwatch() { part_ += std::chrono::duration<double>(Clock::now() - start_).count(); }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  using Clock = std::chrono::steady_clock;
  double& part_;
  Clock::time_point start_;
};

}  // namespace sluice
