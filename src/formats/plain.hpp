// bf16, f16, f32: the matrix itself, row-major.
//
//   values  [rows, columns]  in the format's dtype, or F32, which loading rounds
//   scales  none
#pragma once

#include "formats/format.hpp"

namespace sluice::formats {

extern const Format kBf16;
extern const Format kF16;
extern const Format kF32;

}  // namespace sluice::formats
