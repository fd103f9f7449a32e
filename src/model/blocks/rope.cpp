#include "model/blocks/rope.hpp"

#include <cmath>

#include "model/blocks/parallel.hpp"
#include "model/blocks/primitives.hpp"

namespace sluice {

Rotary::Rotary(std::int64_t dim, double theta) : half_(dim / 2) {
  for (std::int64_t i = 0; i < half_; ++i) {
    // Rounded as the reference rounds it: at position 4096 an ulp of the frequency is already
    // 2e-4 radians. The power in double gives the correctly rounded fp32 power.
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(dim);
    const auto power = static_cast<float>(std::pow(theta, static_cast<double>(exponent)));
    inverse_frequency_.push_back(1.0f / power);
  }
}

void Rotary::prepare(Compute& compute, const Batch& batch) {
  cosines_.resize(batch.rows(), half_);
  sines_.resize(batch.rows(), half_);
  parallel_rows(*compute.executor, batch.rows(), 64, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row < last; ++row) {
      const auto position = static_cast<float>(batch.position(row));
      for (std::int64_t i = 0; i < half_; ++i) {
        const float angle = position * inverse_frequency_[static_cast<std::size_t>(i)];
        cosines_.row(row)[i] = std::cos(angle);
        sines_.row(row)[i] = std::sin(angle);
      }
    }
  });
}

void Rotary::rotate(std::int64_t row, float* x) const {
  primitives().rotate(x, cosines_.row(row), sines_.row(row), half_);
}

}  // namespace sluice
