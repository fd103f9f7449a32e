// How one expert matrix is stored: the interface that every weight format fills in.
//
// A format says which tensors hold a matrix of [rows, columns] and gives the scalar unpack, which
// is the truth that kernels are compared with: value times scale, each product rounded to fp32.
// Columns run along the inner dimension of the matrix product, so blocks never straddle rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <sluice/spec.hpp>
#include <sluice/tensor.hpp>

namespace sluice::formats {

struct TensorForm {
  DType dtype;
  Shape shape;
};

struct MatrixSize {
  std::int64_t rows;
  std::int64_t columns;
};

struct EncodedMatrix {
  TensorView values;
  TensorView scales;          // not given for plain formats
  float global_scale = 1.0f;  // nvfp4 only
};

// What pack() makes; owns its bytes.
struct PackedMatrix {
  std::vector<std::byte> values;
  std::vector<std::byte> scales;
  TensorForm values_form;
  TensorForm scales_form;
  float global_scale = 1.0f;
  EncodedMatrix view() const;
};

struct Format {
  WeightFormat id;
  // Columns must be a multiple of this: a block of columns shares a scale, two values share a byte.
  std::int64_t column_multiple;
  bool has_global_scale;
  // Any of these holds the matrix. `scales` gives none for plain formats.
  std::vector<TensorForm> (*values)(MatrixSize);
  std::vector<TensorForm> (*scales)(MatrixSize);
  // `matrix` must be in one of the forms above. `out` is [rows, columns].
  void (*unpack)(const EncodedMatrix& matrix, MatrixSize size, std::span<float> out);
  // Rounds to nearest, ties to even; throws Error(user) for values that are not finite.
  PackedMatrix (*pack)(std::span<const float> in, MatrixSize size);
};

const Format& format(WeightFormat id);

// A property of the format: scales() gives none for widths that a scaled format cannot hold, too.
bool has_scales(WeightFormat id);
std::vector<WeightFormat> scaled_formats();

// Checked entry: throws Error(user) when a tensor is not in a form of the format, or `out` has
// another size.
void unpack(WeightFormat id, const EncodedMatrix& matrix, MatrixSize size, std::span<float> out);
PackedMatrix pack(WeightFormat id, std::span<const float> in, MatrixSize size);

// Empty when `view` is in one of the forms; else what it is and what was expected.
std::string form_problem(const TensorView& view, std::span<const TensorForm> forms);

}  // namespace sluice::formats
