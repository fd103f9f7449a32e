#include "audit/cases/stored_forms.hpp"

#include <utility>

#include "base/element.hpp"
#include "formats/int4.hpp"

namespace sluice::auditing {
namespace {

using formats::MatrixSize;
using formats::PackedMatrix;
using formats::TensorForm;

// Scales that are floats are rounded to the other dtype; what the matrix then is, unpacking says.
void store_scales_as(PackedMatrix& packed, const TensorForm& form) {
  const TensorForm from = std::exchange(packed.scales_form, form);
  if (form.dtype == from.dtype || bits(form.dtype) == 8) return;  // the same bytes
  std::vector<std::byte> scales(
      static_cast<std::size_t>(form.shape.elements() * bits(form.dtype) / 8));
  for (std::int64_t i = 0; i < form.shape.elements(); ++i) {
    store_float(scales.data(), form.dtype, i, load_float(packed.scales.data(), from.dtype, i));
  }
  packed.scales = std::move(scales);
}

}  // namespace

StoredForm drawn_form(std::uint64_t seed, Matrix matrix) {
  const std::uint64_t turn = seed + (matrix == Matrix::down ? 1 : 0);
  return turn % 2 == 0 ? StoredForm::first : StoredForm::last;
}

DType drawn_shared_dtype(std::uint64_t seed) {
  constexpr DType kPlain[] = {DType::bf16, DType::f32, DType::f16};
  return kPlain[seed % 3];
}

PackedMatrix pack_as(WeightFormat id, std::span<const float> matrix, MatrixSize size,
                     StoredForm form) {
  if (form == StoredForm::first) return formats::pack(id, matrix, size);
  const formats::Format& format = formats::format(id);
  const TensorForm scales = format.scales(size).back();
  PackedMatrix packed = id == WeightFormat::int4
                            ? formats::pack_int4(matrix, size, size.columns / scales.shape[1])
                            : formats::pack(id, matrix, size);
  packed.values_form = format.values(size).back();
  store_scales_as(packed, scales);
  return packed;
}

}  // namespace sluice::auditing
