// The forms in which a checkpoint may store one matrix of a scaled format.
#pragma once

#include "formats/format.hpp"

namespace sluice::auditing {

// first: what format() packs into. last: the others of <sluice/weights.hpp>, as far apart from it
// as they go: values of another dtype over the same bytes, scales of another dtype and shape, and
// int4's groups of 128 where the columns allow it.
enum class StoredForm : std::uint8_t { first, last };

// Which of them a seed draws: of the two matrices of an expert, and of two seeds in a row, each has
// the other one. Shared experts beside scaled ones are plain floats, of any dtype.
enum class Matrix : std::uint8_t { gate_up, down };
StoredForm drawn_form(std::uint64_t seed, Matrix matrix);
DType drawn_shared_dtype(std::uint64_t seed);
// Seeds that lie so far apart draw the same forms.
inline constexpr std::uint64_t kFormPeriod = 6;

formats::PackedMatrix pack_as(WeightFormat format, std::span<const float> matrix,
                              formats::MatrixSize size, StoredForm form);

}  // namespace sluice::auditing
