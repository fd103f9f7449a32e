// The first half of a decoder layer: what mixes positions.
#pragma once

#include <memory>

#include "model/batch.hpp"
#include "model/blocks/compute.hpp"
#include "model/blocks/matrix.hpp"

namespace sluice {

class Mixer {
 public:
  virtual ~Mixer() = default;
  // h and out [batch rows, hidden]; continues layer `layer`'s state of every sequence.
  virtual void operator()(Compute& compute, const Batch& batch, std::int64_t layer, const Matrix& h,
                          Matrix& out) = 0;
  // The state of a sequence that has seen nothing.
  virtual std::unique_ptr<LayerState> new_state() const = 0;
  virtual std::size_t bytes() const = 0;  // of weights
  // See MemoryFigures.
  virtual std::size_t state_fixed_bytes() const = 0;
  virtual std::size_t state_bytes_per_token() const = 0;
};

}  // namespace sluice
