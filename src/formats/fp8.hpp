// fp8_e4m3: 8-bit floats with scales per tensor, per row, or per block of 128 x 128.
//
//   values  [rows, columns] F8_E4M3
//   scales  tensor    [] or [1]            one for the matrix
//           channel   [rows] or [rows, 1]  one for each row (output channel)
//           block128  [ceil(rows/128), ceil(columns/128)]
//                     the last block of a row or column may be smaller; the blocks of a fused
//                     gate_up matrix start at its first row, wherever gate ends
//           F32 or BF16; they multiply (DeepSeek's `weight_scale_inv` does too, despite its name)
#pragma once

#include "formats/format.hpp"

namespace sluice::formats {

inline constexpr std::int64_t kFp8Block = 128;

extern const Format kFp8Tensor;
extern const Format kFp8Channel;
extern const Format kFp8Block128;

}  // namespace sluice::formats
