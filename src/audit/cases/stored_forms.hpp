// The forms in which a checkpoint may store one matrix of a scaled format.
#pragma once

#include "formats/format.hpp"

namespace sluice::auditing {

// first: what format() packs into. last: the others of <sluice/weights.hpp>, as far apart from it
// as they go: values of another dtype over the same bytes, scales of another dtype and shape, and
// int4's groups of 128 where the columns allow it.
enum class StoredForm : std::uint8_t { first, last };

formats::PackedMatrix pack_as(WeightFormat format, std::span<const float> matrix,
                              formats::MatrixSize size, StoredForm form);

}  // namespace sluice::auditing
