#include "formats/fp8.hpp"

#include "base/element.hpp"
#include "formats/absolute_maximum.hpp"
#include "formats/small_floats.hpp"

namespace sluice::formats {
namespace {

std::int64_t blocks(std::int64_t extent, std::int64_t block) {
  return extent / block + (extent % block != 0 ? 1 : 0);
}

std::vector<TensorForm> values(MatrixSize size) {
  return {{DType::f8_e4m3, {size.rows, size.columns}}};
}

std::vector<TensorForm> scale_forms(std::initializer_list<Shape> shapes) {
  std::vector<TensorForm> forms;
  for (const Shape& shape : shapes) {
    forms.push_back({DType::f32, shape});
    forms.push_back({DType::bf16, shape});
  }
  return forms;
}

// Each granularity is a block size; the scales are always the row-major grid of blocks.
struct PerTensor {
  static MatrixSize block(MatrixSize size) { return size; }
  static std::vector<TensorForm> scales(MatrixSize) { return scale_forms({Shape{1}, Shape{}}); }
};
struct PerChannel {
  static MatrixSize block(MatrixSize size) { return {1, size.columns}; }
  static std::vector<TensorForm> scales(MatrixSize size) {
    return scale_forms({Shape{size.rows}, Shape{size.rows, 1}});
  }
};
struct PerBlock {
  static MatrixSize block(MatrixSize) { return {kFp8Block, kFp8Block}; }
  static std::vector<TensorForm> scales(MatrixSize size) {
    return scale_forms({Shape{blocks(size.rows, kFp8Block), blocks(size.columns, kFp8Block)}});
  }
};

template <typename Granularity>
void unpack(const EncodedMatrix& matrix, MatrixSize size, std::span<float> out) {
  const MatrixSize block = Granularity::block(size);
  for (std::int64_t row = 0; row < size.rows; ++row) {
    for (std::int64_t column = 0; column < size.columns; ++column) {
      const std::int64_t index = row * size.columns + column;
      const std::int64_t scale_index =
          row / block.rows * blocks(size.columns, block.columns) + column / block.columns;
      const float scale = load_float(matrix.scales.data, matrix.scales.dtype, scale_index);
      const auto bits = load_unaligned<std::uint8_t>(matrix.values.data, index);
      out[static_cast<std::size_t>(index)] = e4m3_to_float(bits) * scale;
    }
  }
}

template <typename Granularity>
PackedMatrix pack(std::span<const float> in, MatrixSize size) {
  const MatrixSize block = Granularity::block(size);
  PackedMatrix packed;
  packed.values.resize(in.size());
  packed.values_form = values(size).front();
  packed.scales_form = Granularity::scales(size).front();
  packed.scales.resize(static_cast<std::size_t>(packed.scales_form.shape.elements()) *
                       sizeof(float));
  std::int64_t scale_index = 0;
  for (std::int64_t row = 0; row < size.rows; row += block.rows) {
    for (std::int64_t column = 0; column < size.columns; column += block.columns) {
      const Block part{row, std::min(row + block.rows, size.rows), column,
                       std::min(column + block.columns, size.columns)};
      const float largest = absolute_maximum(in, size, part);
      const float scale = step_for(largest, kLargestE4m3);
      store_unaligned(packed.scales.data(), scale_index++, scale);
      for (std::int64_t r = part.row_begin; r < part.row_end; ++r) {
        for (std::int64_t c = part.column_begin; c < part.column_end; ++c) {
          const auto index = static_cast<std::size_t>(r * size.columns + c);
          packed.values[index] = std::byte{float_to_e4m3(in[index] / scale)};
        }
      }
    }
  }
  return packed;
}

template <typename Granularity>
constexpr Format make(WeightFormat id) {
  return {id, 1, false, values, Granularity::scales, unpack<Granularity>, pack<Granularity>};
}

}  // namespace

const Format kFp8Tensor = make<PerTensor>(WeightFormat::fp8_e4m3_tensor);
const Format kFp8Channel = make<PerChannel>(WeightFormat::fp8_e4m3_channel);
const Format kFp8Block128 = make<PerBlock>(WeightFormat::fp8_e4m3_block128);

}  // namespace sluice::formats
