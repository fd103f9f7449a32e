// Depthwise causal convolution of a few taps over the positions of a sequence, then SiLU:
// y_t[c] = silu(sum over j of w[c, j] · u_{t - taps + 1 + j}[c]), u before the start is 0.
#pragma once

#include <span>
#include <vector>

#include <sluice/tensor.hpp>

#include "model/batch.hpp"
#include "model/blocks/compute.hpp"
#include "model/blocks/matrix.hpp"

namespace sluice {

class ShortConv {
 public:
  ShortConv() = default;
  // `parts` [channels, 1, taps], stacked along channels.
  ShortConv(std::span<const TensorView> parts, std::int64_t taps);

  // Row r's channels are at u + r · u_stride; y [rows of the entry, channels] at its rows of y.
  // tail [taps - 1, channels]: the values before the entry's first row; becomes the last ones.
  void operator()(Compute& compute, const BatchEntry& entry, const float* u, std::int64_t u_stride,
                  std::span<float> tail, Matrix& y) const;

  std::int64_t channels() const { return channels_; }
  std::size_t tail_size() const { return static_cast<std::size_t>((taps_ - 1) * channels_); }
  std::size_t bytes() const { return weights_.size() * sizeof(float); }

 private:
  std::int64_t taps_ = 0;
  std::int64_t channels_ = 0;
  std::vector<float> weights_;  // [taps, channels]
};

}  // namespace sluice
