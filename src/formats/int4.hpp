// int4: symmetric 4-bit integers, one scale for a group of 32 or 128 columns of a row.
//
//   values  [rows, columns/2] U8, or [rows, columns/8] I32: the same bytes
//           column 2i in the low nibble, column 2i+1 in the high nibble; nibble n means n - 8
//           (offset binary, as compressed-tensors' pack-quantized and GPTQ store it)
//   scales  [rows, columns/32] or [rows, columns/128]: the shape says which; F32, BF16 or F16
//
// With 32 columns both shapes would be the same only if columns < 32, which is refused.
#pragma once

#include "formats/format.hpp"

namespace sluice::formats {

inline constexpr std::int64_t kInt4SmallGroup = 32;
inline constexpr std::int64_t kInt4LargeGroup = 128;

extern const Format kInt4;
// Format::pack makes groups of 32; this makes either.
PackedMatrix pack_int4(std::span<const float> in, MatrixSize size, std::int64_t group);

}  // namespace sluice::formats
