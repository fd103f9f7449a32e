// What blocks need to run: threads, precision, and scratch that they share because they run one
// after the other.
#pragma once

#include <array>
#include <chrono>
#include <memory>
#include <span>
#include <utility>

#include <sluice/executor.hpp>
#include <sluice/layer.hpp>
#include <sluice/model.hpp>

#include "base/aligned_buffer.hpp"
#include "model/blocks/matrix.hpp"

namespace sluice {

struct Compute {
  std::shared_ptr<Executor> executor;
  ActivationPrecision precision = ActivationPrecision::f32;
  ForwardTimes times;
  // Of all MoE layers.
  std::shared_ptr<LayerWorkspace> workspace = make_layer_workspace();

  // Matrices that a block fills and reads within one call: the blocks of all layers take the same
  // ones, by numbers of their own, so that they stay in cache and are not paged in layer by layer.
  Matrix& matrix(std::size_t index) { return matrices_[index]; }

  // At least `bytes` of scratch, contents unspecified, valid until the next call.
  std::byte* scratch(std::size_t bytes) {
    if (bytes > scratch_.size()) scratch_ = AlignedBuffer(bytes);
    return scratch_.data();
  }

 private:
  AlignedBuffer scratch_;
  std::array<Matrix, 8> matrices_;
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
