#include "model/blocks/short_conv.hpp"

#include <cstring>

#include "model/blocks/norm.hpp"
#include "model/blocks/parallel.hpp"
#include "model/blocks/primitives.hpp"

namespace sluice {

ShortConv::ShortConv(std::span<const TensorView> parts, std::int64_t taps) : taps_(taps) {
  for (const TensorView& part : parts) channels_ += part.shape[0];
  weights_.resize(static_cast<std::size_t>(taps_ * channels_));
  std::int64_t channel = 0;
  for (const TensorView& part : parts) {
    const std::vector<float> values = to_floats(part);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const auto at = static_cast<std::int64_t>(i);
      const std::int64_t target = (at % taps_) * channels_ + channel + at / taps_;
      weights_[static_cast<std::size_t>(target)] = values[i];
    }
    channel += part.shape[0];
  }
}

void ShortConv::operator()(Compute& compute, const BatchEntry& entry, const float* u,
                           std::int64_t u_stride, std::span<float> tail, Matrix& y) const {
  const std::int64_t history = taps_ - 1;
  const auto input = [&](std::int64_t t) {  // t < 0: before the entry
    return t < 0 ? tail.data() + (history + t) * channels_ : u + (entry.first_row + t) * u_stride;
  };
  parallel_rows(*compute.executor, entry.rows, row_grain(channels_),
                [&](std::int64_t first, std::int64_t last) {
                  std::vector<const float*> inputs(static_cast<std::size_t>(taps_));
                  for (std::int64_t t = first; t < last; ++t) {
                    for (std::int64_t j = 0; j < taps_; ++j) {
                      inputs[static_cast<std::size_t>(j)] = input(t - history + j);
                    }
                    primitives().conv_silu(inputs.data(), taps_, weights_.data(),
                                           y.row(entry.first_row + t), channels_);
                  }
                });
  // Ascending: with fewer new rows than history, older slots move down before they are overwritten.
  for (std::int64_t slot = 0; slot < history; ++slot) {
    std::memmove(tail.data() + slot * channels_, input(entry.rows - history + slot),
                 static_cast<std::size_t>(channels_) * sizeof(float));
  }
}

}  // namespace sluice
