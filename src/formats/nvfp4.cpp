#include "formats/nvfp4.hpp"

#include "base/element.hpp"
#include "formats/absolute_maximum.hpp"
#include "formats/nibbles.hpp"
#include "formats/small_floats.hpp"

namespace sluice::formats {
namespace {

std::vector<TensorForm> values(MatrixSize size) {
  return {{DType::u8, {size.rows, size.columns / 2}}, {DType::f4, {size.rows, size.columns}}};
}

std::vector<TensorForm> scales(MatrixSize size) {
  return {{DType::f8_e4m3, {size.rows, size.columns / kNvfp4Block}}};
}

void unpack(const EncodedMatrix& matrix, MatrixSize, std::span<float> out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    const auto index = static_cast<std::int64_t>(i);
    const auto scale = load_unaligned<std::uint8_t>(matrix.scales.data, index / kNvfp4Block);
    const float scaled =
        e2m1_to_float(load_nibble(matrix.values.data, index)) * e4m3_to_float(scale);
    out[i] = scaled * matrix.global_scale;
  }
}

PackedMatrix pack(std::span<const float> in, MatrixSize size) {
  PackedMatrix packed;
  packed.values.resize(in.size() / 2);
  packed.scales.resize(in.size() / kNvfp4Block);
  packed.values_form = values(size).front();
  packed.scales_form = scales(size).front();
  // The largest block's scale becomes 448, so that block scales use e4m3's whole range.
  const float largest = absolute_maximum(in, size, {0, size.rows, 0, size.columns});
  packed.global_scale = step_for(largest, kLargestE2m1 * kLargestE4m3);
  for (std::int64_t row = 0; row < size.rows; ++row) {
    for (std::int64_t begin = 0; begin < size.columns; begin += kNvfp4Block) {
      const float peak = absolute_maximum(in, size, {row, row + 1, begin, begin + kNvfp4Block});
      const std::uint8_t scale = float_to_e4m3(peak / kLargestE2m1 / packed.global_scale);
      const float step = e4m3_to_float(scale) * packed.global_scale;
      const std::int64_t first = row * size.columns + begin;
      packed.scales[static_cast<std::size_t>(first / kNvfp4Block)] = std::byte{scale};
      for (std::int64_t i = first; i < first + kNvfp4Block; ++i) {
        // A block too small for e4m3's smallest scale becomes zeros, sign kept.
        const float value = in[static_cast<std::size_t>(i)];
        const float scaled = step > 0.0f ? value / step : std::copysign(0.0f, value);
        store_nibble(packed.values.data(), i, float_to_e2m1(scaled));
      }
    }
  }
  return packed;
}

}  // namespace

const Format kNvfp4{WeightFormat::nvfp4, kNvfp4Block, true, values, scales, unpack, pack};

}  // namespace sluice::formats
