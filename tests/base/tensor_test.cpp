#include <gtest/gtest.h>

#include <sluice/error.hpp>
#include <sluice/tensor.hpp>

namespace sluice {
namespace {

TEST(Shape, CountsElementsAndRefusesOverflow) {
  EXPECT_EQ((Shape{3, 0, 7}).elements(), 0);
  EXPECT_EQ((Shape{std::int64_t{1} << 40, std::int64_t{1} << 40, 0}).elements(), 0);
  EXPECT_EQ((Shape{3, 5, 7}).elements(), 105);
  EXPECT_EQ(Shape{}.elements(), 1);
  EXPECT_THROW((Shape{std::int64_t{1} << 40, std::int64_t{1} << 40}).elements(), Error);
  EXPECT_THROW((Shape{1, 1, 1, 1, 1}), Error);
  EXPECT_EQ(to_string(Shape{128, 2048}), "[128, 2048]");
}

TEST(DType, NamesAreThoseOfSafetensors) {
  EXPECT_EQ(to_string(DType::bf16), "BF16");
  EXPECT_EQ(parse_dtype("F8_E4M3"), DType::f8_e4m3);
  EXPECT_EQ(bits(DType::f4), 4);
  EXPECT_FALSE(parse_dtype("bf16"));
  EXPECT_EQ(to_string(static_cast<DType>(99)), "(no such dtype)");
  EXPECT_EQ(bits(static_cast<DType>(17)), 0);
}

}  // namespace
}  // namespace sluice
