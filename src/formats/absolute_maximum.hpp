// The largest magnitude of a block, from which pack() derives the block's scale.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/fail.hpp"
#include "formats/format.hpp"

namespace sluice::formats {

struct Block {
  std::int64_t row_begin, row_end;
  std::int64_t column_begin, column_end;
};

inline float absolute_maximum(std::span<const float> in, MatrixSize size, const Block& block) {
  float largest = 0.0f;
  for (std::int64_t row = block.row_begin; row < block.row_end; ++row) {
    for (std::int64_t column = block.column_begin; column < block.column_end; ++column) {
      const float value = in[static_cast<std::size_t>(row * size.columns + column)];
      if (!std::isfinite(value)) {
        fail(ErrorKind::user, "element [{}, {}] is {}: a scaled format cannot hold it", row, column,
             value);
      }
      largest = std::max(largest, std::fabs(value));
    }
  }
  return largest;
}

// The step that puts `largest` at the format's `top`; never zero, so that dividing by it is safe.
inline float step_for(float largest, float top) {
  if (largest == 0.0f) return 1.0f;
  return std::max(largest / top, std::numeric_limits<float>::denorm_min());
}

}  // namespace sluice::formats
