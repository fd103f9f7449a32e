#include <sluice/dtype.hpp>

#include <array>

namespace sluice {
namespace {

struct Row {
  DType dtype;
  std::string_view name;
  int bits;
};

constexpr std::array<Row, 17> kRows{{
    {DType::f64, "F64", 64},
    {DType::f32, "F32", 32},
    {DType::f16, "F16", 16},
    {DType::bf16, "BF16", 16},
    {DType::f8_e4m3, "F8_E4M3", 8},
    {DType::f8_e5m2, "F8_E5M2", 8},
    {DType::f8_e8m0, "F8_E8M0", 8},
    {DType::f4, "F4", 4},
    {DType::i64, "I64", 64},
    {DType::i32, "I32", 32},
    {DType::i16, "I16", 16},
    {DType::i8, "I8", 8},
    {DType::u64, "U64", 64},
    {DType::u32, "U32", 32},
    {DType::u16, "U16", 16},
    {DType::u8, "U8", 8},
    {DType::boolean, "BOOL", 8},
}};

constexpr bool rows_stand_in_enum_order() {
  for (std::size_t i = 0; i < kRows.size(); ++i) {
    if (static_cast<std::size_t>(kRows[i].dtype) != i) return false;
  }
  return true;
}
static_assert(rows_stand_in_enum_order());

}  // namespace

// A C++ caller may cast any number into the enumeration, and an error must be able to print it.
static bool is_dtype(DType dtype) { return static_cast<std::size_t>(dtype) < kRows.size(); }

int bits(DType dtype) { return is_dtype(dtype) ? kRows[static_cast<std::size_t>(dtype)].bits : 0; }

std::string_view to_string(DType dtype) {
  return is_dtype(dtype) ? kRows[static_cast<std::size_t>(dtype)].name : "(no such dtype)";
}

std::optional<DType> parse_dtype(std::string_view name) {
  for (const Row& row : kRows) {
    if (row.name == name) return row.dtype;
  }
  return std::nullopt;
}

}  // namespace sluice
