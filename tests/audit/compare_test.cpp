// The comparator, and comparators that are wrong on purpose: the table must tell them apart.
#include "audit/compare.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

namespace sluice::auditing {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

struct Example {
  DType dtype;
  double got;
  Approx expected;
  bool right;
};

const Example kExamples[] = {
    {DType::f32, 1.0, {1.0, 0.0}, true},
    {DType::f32, 1.0 + 0x1p-23, {1.0, 0.0}, false},
    {DType::f32, 1.5, {1.0, 0.5}, true},
    {DType::f32, 0.5, {1.0, 0.5}, true},
    {DType::f32, 1.5 + 0x1p-23, {1.0, 0.5}, false},
    {DType::f32, 0.5 - 0x1p-23, {1.0, 0.5}, false},
    {DType::f32, -1000.0, {-2.0, 0.1}, false},
    {DType::f32, 2.0, {-2.0, 0.1}, false},
    {DType::f32, kNan, {1.0, 0.5}, false},
    {DType::f32, kNan, {1.0, 1e30}, false},
    {DType::f32, kInf, {1.0, 0.5}, false},
    {DType::f32, -kInf, {1.0, 0.5}, false},
    {DType::f32, 0.0, {1.0, 0.5}, false},
    // bf16 has steps of 2^-7 above 1: the nearest is right without any bound …
    {DType::bf16, 1.0, {1.003, 0.0}, true},
    {DType::bf16, 1.0078125, {1.003, 0.0}, false},
    // … and the farther one only if the bound reaches the midpoint 1.00390625.
    {DType::bf16, 1.0078125, {1.003, 0.001}, true},
    {DType::bf16, 1.0078125, {1.003, 0.0005}, false},
    {DType::f16, 1.0009765625, {1.0004, 0.0}, false},
    {DType::f16, 1.0009765625, {1.0004, 0.0001}, true},
};

using Comparator = std::function<bool(const Example&)>;

std::size_t mistakes(const Comparator& comparator) {
  std::size_t count = 0;
  for (const Example& example : kExamples) count += comparator(example) != example.right;
  return count;
}

TEST(Compare, JudgesEveryExampleRight) {
  for (const Example& example : kExamples) {
    const double share = share_of_bound(example.dtype, example.got, example.expected);
    EXPECT_EQ(share <= 1.0, example.right)
        << example.got << " for " << example.expected.value << " ± " << example.expected.error;
  }
}

TEST(Compare, TheTableNoticesWrongComparators) {
  const auto error = [](const Example& e) { return std::fabs(e.got - e.expected.value); };
  const std::pair<const char*, Comparator> wrong[] = {
      {"passes NaN", [&](const Example& e) { return !(error(e) > e.expected.error); }},
      {"no absolute value",
       [](const Example& e) { return e.got - e.expected.value <= e.expected.error; }},
      {"absolute values of both",
       [](const Example& e) {
         return std::fabs(std::fabs(e.got) - std::fabs(e.expected.value)) <= e.expected.error;
       }},
      {"relative to what was got",
       [&](const Example& e) { return error(e) <= e.expected.error * std::fabs(e.got); }},
      {"strictly less", [&](const Example& e) { return error(e) < e.expected.error; }},
      {"a step of the dtype for free",
       [&](const Example& e) {
         return error(e) <= e.expected.error + 0x1p-7 * std::fabs(e.expected.value);
       }},
      {"forgets the dtype's rounding",
       [&](const Example& e) { return error(e) <= e.expected.error; }},
      {"passes zero",
       [](const Example& e) {
         return e.got == 0.0 || share_of_bound(e.dtype, e.got, e.expected) <= 1.0;
       }},
      {"twice the bound",
       [](const Example& e) {
         return share_of_bound(e.dtype, e.got, {e.expected.value, 2.0 * e.expected.error}) <= 1.0;
       }},
      {"passes everything", [](const Example&) { return true; }},
  };
  for (const auto& [name, comparator] : wrong) EXPECT_GT(mistakes(comparator), 0u) << name;
}

TEST(Compare, ShareIsHowMuchOfTheBoundWasNeeded) {
  EXPECT_EQ(share_of_bound(DType::f32, 1.0, {1.0, 0.5}), 0.0);
  EXPECT_NEAR(share_of_bound(DType::f32, 1.25, {1.0, 0.5}), 0.5, 1e-3);
  EXPECT_GT(share_of_bound(DType::f32, 3.0, {1.0, 0.5}), 3.9);
}

}  // namespace
}  // namespace sluice::auditing
