#include "formats/mxfp4.hpp"

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
  const Shape shape{size.rows, size.columns / kMxfp4Block};
  return {{DType::f8_e8m0, shape}, {DType::u8, shape}};
}

void unpack(const EncodedMatrix& matrix, MatrixSize, std::span<float> out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    const auto index = static_cast<std::int64_t>(i);
    const auto scale = load_unaligned<std::uint8_t>(matrix.scales.data, index / kMxfp4Block);
    out[i] = e2m1_to_float(load_nibble(matrix.values.data, index)) * e8m0_to_float(scale);
  }
}

// OCP MX 1.0 §6.3: the shared exponent is that of the largest magnitude minus e2m1's largest
// exponent, 2; what then exceeds 6 saturates.
std::uint8_t shared_scale(float largest) {
  if (largest == 0.0f) return 0;
  return static_cast<std::uint8_t>(std::clamp(std::ilogb(largest) - 2 + 127, 0, 254));
}

PackedMatrix pack(std::span<const float> in, MatrixSize size) {
  PackedMatrix packed;
  packed.values.resize(in.size() / 2);
  packed.scales.resize(in.size() / kMxfp4Block);
  packed.values_form = values(size).front();
  packed.scales_form = scales(size).front();
  for (std::int64_t row = 0; row < size.rows; ++row) {
    for (std::int64_t begin = 0; begin < size.columns; begin += kMxfp4Block) {
      const float largest = absolute_maximum(in, size, {row, row + 1, begin, begin + kMxfp4Block});
      const std::uint8_t scale = shared_scale(largest);
      const std::int64_t first = row * size.columns + begin;
      packed.scales[static_cast<std::size_t>(first / kMxfp4Block)] = std::byte{scale};
      for (std::int64_t i = first; i < first + kMxfp4Block; ++i) {
        const float scaled = std::ldexp(in[static_cast<std::size_t>(i)], 127 - scale);
        store_nibble(packed.values.data(), i, float_to_e2m1(scaled));
      }
    }
  }
  return packed;
}

}  // namespace

const Format kMxfp4{WeightFormat::mxfp4, kMxfp4Block, false, values, scales, unpack, pack};

}  // namespace sluice::formats
