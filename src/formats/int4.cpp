#include "formats/int4.hpp"

#include "base/element.hpp"
#include "formats/absolute_maximum.hpp"
#include "formats/nibbles.hpp"

namespace sluice::formats {
namespace {

constexpr int kZero = 8;  // the nibble that means 0

std::vector<TensorForm> values(MatrixSize size) {
  return {{DType::u8, {size.rows, size.columns / 2}}, {DType::i32, {size.rows, size.columns / 8}}};
}

std::vector<TensorForm> scales(MatrixSize size) {
  std::vector<TensorForm> forms;
  for (std::int64_t group : {kInt4SmallGroup, kInt4LargeGroup}) {
    if (size.columns % group != 0) continue;
    for (DType dtype : {DType::f32, DType::bf16, DType::f16}) {
      forms.push_back({dtype, {size.rows, size.columns / group}});
    }
  }
  return forms;
}

void unpack(const EncodedMatrix& matrix, MatrixSize size, std::span<float> out) {
  const std::int64_t groups = matrix.scales.shape[1];
  const std::int64_t group = groups > 0 ? size.columns / groups : kInt4SmallGroup;
  for (std::size_t i = 0; i < out.size(); ++i) {
    const auto index = static_cast<std::int64_t>(i);
    const float scale = load_float(matrix.scales.data, matrix.scales.dtype, index / group);
    const int value = load_nibble(matrix.values.data, index) - kZero;
    out[i] = static_cast<float>(value) * scale;
  }
}

PackedMatrix pack(std::span<const float> in, MatrixSize size) {
  return pack_int4(in, size, kInt4SmallGroup);
}

}  // namespace

PackedMatrix pack_int4(std::span<const float> in, MatrixSize size, std::int64_t group) {
  if ((group != kInt4SmallGroup && group != kInt4LargeGroup) || size.columns % group != 0) {
    fail(ErrorKind::user, "int4 groups of {} columns in rows of {}: groups are {} or {}, whole",
         group, size.columns, kInt4SmallGroup, kInt4LargeGroup);
  }
  PackedMatrix packed;
  packed.values.resize(in.size() / 2);
  packed.values_form = values(size).front();
  packed.scales_form = {DType::f32, {size.rows, size.columns / group}};
  packed.scales.resize(in.size() / static_cast<std::size_t>(group) * sizeof(float));
  for (std::int64_t row = 0; row < size.rows; ++row) {
    for (std::int64_t begin = 0; begin < size.columns; begin += group) {
      // Symmetric: -8 is left unused, so that a weight and its negative round alike.
      const float largest = absolute_maximum(in, size, {row, row + 1, begin, begin + group});
      const float scale = step_for(largest, 7.0f);
      const std::int64_t first = row * size.columns + begin;
      store_unaligned(packed.scales.data(), first / group, scale);
      for (std::int64_t i = first; i < first + group; ++i) {
        const auto steps =
            static_cast<int>(std::nearbyint(in[static_cast<std::size_t>(i)] / scale));
        store_nibble(packed.values.data(), i,
                     static_cast<std::uint8_t>(std::clamp(steps, -7, 7) + kZero));
      }
    }
  }
  return packed;
}

const Format kInt4{WeightFormat::int4, kInt4SmallGroup, false, values, scales, unpack, pack};

}  // namespace sluice::formats
