// mxfp4 (OCP MX 1.0): e2m1 values, one e8m0 scale for 32 columns of a row.
//
//   values  [rows, columns/2] U8, or [rows, columns] F4: the same bytes
//           column 2i in the low nibble, column 2i+1 in the high nibble
//   scales  [rows, columns/32] F8_E8M0 or U8: 2^(byte - 127)
//
// gpt-oss stores values as [rows, columns/32, 16]: also the same bytes.
#pragma once

#include "formats/format.hpp"

namespace sluice::formats {

inline constexpr std::int64_t kMxfp4Block = 32;

extern const Format kMxfp4;

}  // namespace sluice::formats
