// Element types of tensors, as safetensors names them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace sluice {

enum class DType : std::uint8_t {
  f64,
  f32,
  f16,
  bf16,
  f8_e4m3,
  f8_e5m2,
  f8_e8m0,
  f4,
  i64,
  i32,
  i16,
  i8,
  u64,
  u32,
  u16,
  u8,
  boolean
};

// Size of one element in bits: F4 packs two elements into a byte, so bytes would not do. 0 for a
// number that names no dtype.
int bits(DType dtype);

// "BF16", "F32", "I64", …: the spelling of the safetensors format.
std::string_view to_string(DType dtype);
std::optional<DType> parse_dtype(std::string_view name);

}  // namespace sluice
