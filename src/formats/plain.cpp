#include "formats/plain.hpp"

#include "base/element.hpp"

namespace sluice::formats {
namespace {

template <DType kDType>
std::vector<TensorForm> values(MatrixSize size) {
  std::vector<TensorForm> forms{{kDType, {size.rows, size.columns}}};
  if (kDType != DType::f32) forms.push_back({DType::f32, {size.rows, size.columns}});
  return forms;
}

std::vector<TensorForm> no_scales(MatrixSize) { return {}; }

// An F32 tensor stands for what loading makes of it: the values rounded to the format.
template <DType kDType>
void unpack(const EncodedMatrix& matrix, MatrixSize, std::span<float> out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    const auto index = static_cast<std::int64_t>(i);
    float value = load_float(matrix.values.data, matrix.values.dtype, index);
    if (kDType == DType::bf16) value = round_to_bf16(value);
    if (kDType == DType::f16) value = round_to_f16(value);
    out[i] = value;
  }
}

template <DType kDType>
PackedMatrix pack(std::span<const float> in, MatrixSize size) {
  PackedMatrix packed;
  packed.values.resize(in.size() * static_cast<std::size_t>(bits(kDType) / 8));
  packed.values_form = {kDType, {size.rows, size.columns}};
  for (std::size_t i = 0; i < in.size(); ++i) {
    store_float(packed.values.data(), kDType, static_cast<std::int64_t>(i), in[i]);
  }
  return packed;
}

template <DType kDType>
constexpr Format make(WeightFormat id) {
  return {id, 1, false, values<kDType>, no_scales, unpack<kDType>, pack<kDType>};
}

}  // namespace

const Format kBf16 = make<DType::bf16>(WeightFormat::bf16);
const Format kF16 = make<DType::f16>(WeightFormat::f16);
const Format kF32 = make<DType::f32>(WeightFormat::f32);

}  // namespace sluice::formats
