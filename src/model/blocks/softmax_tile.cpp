#include "model/blocks/softmax_tile.hpp"

#include <limits>

namespace sluice {

void SoftmaxTile::begin(std::int64_t rows, std::int64_t value_dim) {
  rows_ = rows;
  value_dim_ = value_dim;
  state_.resize(static_cast<std::size_t>(rows));
  scores_.resize(static_cast<std::size_t>(rows * kPageTokens));
  outputs_.assign(static_cast<std::size_t>(rows * value_dim), 0.0f);
}

void SoftmaxTile::set_row(std::int64_t row, std::int64_t first_seen, std::int64_t last_seen) {
  state_[static_cast<std::size_t>(row)] = {
      first_seen, last_seen, {-std::numeric_limits<float>::infinity(), 0.0f}};
}

void SoftmaxTile::rescale(std::int64_t row, float factor) {
  float* output = outputs_.data() + row * value_dim_;
  for (std::int64_t i = 0; i < value_dim_; ++i) output[i] *= factor;
}

void SoftmaxTile::absorb(std::int64_t page_start, const float* values, std::int64_t value_stride) {
  const Primitives& simd = primitives();
  for (std::int64_t r = 0; r < rows_; ++r) {
    Row& row = state_[static_cast<std::size_t>(r)];
    float* scores = scores_.data() + r * kPageTokens;
    const std::int64_t first =
        std::clamp<std::int64_t>(row.first_seen - page_start, 0, kPageTokens);
    const std::int64_t last =
        std::clamp<std::int64_t>(row.last_seen + 1 - page_start, first, kPageTokens);
    float factor;
    simd.softmax_page(scores, first, last, 1.0f, &row.running, scores, &factor);
    if (factor != 1.0f) rescale(r, factor);
  }
  simd.matmul(rows_, value_dim_, kPageTokens, scores_.data(), kPageTokens, values, value_stride,
              outputs_.data(), value_dim_, true);
}

const float* SoftmaxTile::finish(std::int64_t row) {
  rescale(row, 1.0f / state_[static_cast<std::size_t>(row)].running.sum);
  return outputs_.data() + row * value_dim_;
}

}  // namespace sluice
