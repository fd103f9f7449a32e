// Rotary positions, rotate-half pairing: element d turns with element d + dim/2.
#pragma once

#include <vector>

#include "model/batch.hpp"
#include "model/blocks/compute.hpp"
#include "model/blocks/matrix.hpp"

namespace sluice {

class Rotary {
 public:
  Rotary(std::int64_t dim, double theta);
  // Cosines and sines of every row of the batch, for rotate() until the next call.
  void prepare(Compute& compute, const Batch& batch);
  // x [dim], the row's vector of one head.
  void rotate(std::int64_t row, float* x) const;

 private:
  std::int64_t half_;
  std::vector<float> inverse_frequency_;  // theta^(-2i/dim)
  Matrix cosines_;                        // [rows, dim/2]
  Matrix sines_;
};

}  // namespace sluice
