// nvfp4: e2m1 values, one e4m3 scale for 16 columns of a row, one fp32 scale for the matrix.
//
//   values        [rows, columns/2] U8, or [rows, columns] F4: the same bytes
//                 column 2i in the low nibble, column 2i+1 in the high nibble
//   scales        [rows, columns/16] F8_E4M3
//   global_scale  fp32, multiplies (ModelOpt's `weight_scale_2`; compressed-tensors stores the
//                 reciprocal, `weight_global_scale`)
//
// Value times block scale is exact in fp32; the global scale is the one rounding.
#pragma once

#include "formats/format.hpp"

namespace sluice::formats {

inline constexpr std::int64_t kNvfp4Block = 16;

extern const Format kNvfp4;

}  // namespace sluice::formats
