// Reading and writing single elements of tensors whose dtype is known at run time.
#pragma once

#include <cstdint>
#include <cstring>

#include <sluice/tensor.hpp>

#include "base/fail.hpp"
#include "base/float_types.hpp"

namespace sluice {

template <typename T>
T load_unaligned(const void* base, std::int64_t index) {
  T value;
  std::memcpy(&value, static_cast<const char*>(base) + index * static_cast<std::int64_t>(sizeof(T)),
              sizeof(T));
  return value;
}

template <typename T>
void store_unaligned(void* base, std::int64_t index, T value) {
  std::memcpy(static_cast<char*>(base) + index * static_cast<std::int64_t>(sizeof(T)), &value,
              sizeof(T));
}

inline bool is_plain_float(DType dtype) {
  return dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::f16;
}

// F32, BF16 or F16 element as fp32 (exact).
inline float load_float(const void* base, DType dtype, std::int64_t index) {
  switch (dtype) {
    case DType::f32:
      return load_unaligned<float>(base, index);
    case DType::bf16:
      return bf16_to_float(load_unaligned<std::uint16_t>(base, index));
    case DType::f16:
      return f16_to_float(load_unaligned<std::uint16_t>(base, index));
    default:
      fail(ErrorKind::internal, "load_float of {}", to_string(dtype));
  }
}

inline void store_float(void* base, DType dtype, std::int64_t index, float value) {
  switch (dtype) {
    case DType::f32:
      return store_unaligned(base, index, value);
    case DType::bf16:
      return store_unaligned(base, index, float_to_bf16(value));
    case DType::f16:
      return store_unaligned(base, index, float_to_f16(value));
    default:
      fail(ErrorKind::internal, "store_float of {}", to_string(dtype));
  }
}

inline std::int64_t load_int(const void* base, DType dtype, std::int64_t index) {
  switch (dtype) {
    case DType::i64:
      return load_unaligned<std::int64_t>(base, index);
    case DType::i32:
      return load_unaligned<std::int32_t>(base, index);
    default:
      fail(ErrorKind::internal, "load_int of {}", to_string(dtype));
  }
}

}  // namespace sluice
