#include "formats/format.hpp"

#include <algorithm>
#include <array>

#include "base/fail.hpp"
#include "formats/fp8.hpp"
#include "formats/int4.hpp"
#include "formats/mxfp4.hpp"
#include "formats/nvfp4.hpp"
#include "formats/plain.hpp"

namespace sluice::formats {

EncodedMatrix PackedMatrix::view() const {
  EncodedMatrix matrix;
  matrix.values = {values.data(), values_form.dtype, values_form.shape, {}};
  if (!scales.empty()) matrix.scales = {scales.data(), scales_form.dtype, scales_form.shape, {}};
  matrix.global_scale = global_scale;
  return matrix;
}

static std::span<const Format* const> formats() {
  static const std::array<const Format*, 9> kFormats{
      &kBf16, &kF32, &kF16, &kFp8Tensor, &kFp8Channel, &kFp8Block128, &kNvfp4, &kMxfp4, &kInt4};
  return kFormats;
}

const Format& format(WeightFormat id) {
  const auto all = formats();
  const auto found = std::find_if(all.begin(), all.end(),
                                  [&](const Format* candidate) { return candidate->id == id; });
  if (found == all.end()) {
    fail(ErrorKind::internal, "weight format {} has no row in formats/format.cpp",
         static_cast<int>(id));
  }
  return **found;
}

bool has_scales(WeightFormat id) {
  return !format(id).scales({1, 128}).empty();  // 128 columns suit every format
}

std::vector<WeightFormat> scaled_formats() {
  std::vector<WeightFormat> scaled;
  for (const Format* each : formats()) {
    if (has_scales(each->id)) scaled.push_back(each->id);
  }
  return scaled;
}

std::string form_problem(const TensorView& view, std::span<const TensorForm> forms) {
  for (const TensorForm& form : forms) {
    if (form.dtype == view.dtype && form.shape == view.shape) return {};
  }
  std::string expected;
  for (const TensorForm& form : forms) {
    if (!expected.empty()) expected += " or ";
    expected += fmt::format("{} {}", to_string(form.dtype), to_string(form.shape));
  }
  return fmt::format("is {} {}, expected {}", to_string(view.dtype), to_string(view.shape),
                     expected);
}

namespace {

void check_size(std::size_t elements, MatrixSize size, const Format& format) {
  if (size.rows < 0 || size.columns < 0 || size.columns % format.column_multiple != 0) {
    fail(ErrorKind::user,
         "a matrix of {} x {}: this weight format needs columns that are a multiple of {}",
         size.rows, size.columns, format.column_multiple);
  }
  if (elements != static_cast<std::size_t>(Shape{size.rows, size.columns}.elements())) {
    fail(ErrorKind::user, "a matrix of {} x {} was given with {} floats", size.rows, size.columns,
         elements);
  }
}

}  // namespace

void unpack(WeightFormat id, const EncodedMatrix& matrix, MatrixSize size, std::span<float> out) {
  const Format& chosen = format(id);
  check_size(out.size(), size, chosen);
  if (const auto problem = form_problem(matrix.values, chosen.values(size)); !problem.empty()) {
    fail(ErrorKind::user, "the values tensor {}", problem);
  }
  const auto scale_forms = chosen.scales(size);
  if (scale_forms.empty() != matrix.scales.empty()) {
    fail(ErrorKind::user, "the scales tensor is {}; this weight format has {}",
         matrix.scales.empty() ? "missing" : "given", scale_forms.empty() ? "none" : "one");
  }
  if (!scale_forms.empty()) {
    if (const auto problem = form_problem(matrix.scales, scale_forms); !problem.empty()) {
      fail(ErrorKind::user, "the scales tensor {}", problem);
    }
  }
  chosen.unpack(matrix, size, out);
}

PackedMatrix pack(WeightFormat id, std::span<const float> in, MatrixSize size) {
  const Format& chosen = format(id);
  check_size(in.size(), size, chosen);
  return chosen.pack(in, size);
}

}  // namespace sluice::formats
