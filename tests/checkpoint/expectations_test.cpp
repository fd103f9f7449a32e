#include "checkpoint/expectations.hpp"

#include <gtest/gtest.h>

#include <fmt/format.h>

#include <sluice/error.hpp>

namespace sluice {
namespace {

TensorInfo info(const char* name, DType dtype, Shape shape) { return {name, dtype, shape, 0, "f"}; }

std::string complaint(const std::vector<TensorInfo>& tensors,
                      const std::vector<TensorExpectation>& expectations,
                      const std::function<bool(std::string_view)>& ignored = {}) {
  try {
    check_tensors(tensors, expectations, ignored);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::checkpoint);
    return error.what();
  }
  return "";
}

const std::vector<TensorExpectation> kExpected{
    {"norm", {{4}}, {DType::f32, DType::bf16}, false},
    {"a_log", {{1, 1, 2, 1}, {2, 1}}, {DType::f32}, false},
    {"bias", {{4}}, {DType::f32}, true},
};

TEST(Expectations, AlternativesAndOptionalTensors) {
  EXPECT_EQ(
      complaint({info("norm", DType::bf16, {4}), info("a_log", DType::f32, {2, 1})}, kExpected),
      "");
  EXPECT_EQ(complaint({info("norm", DType::f32, {4}), info("a_log", DType::f32, {1, 1, 2, 1}),
                       info("bias", DType::f32, {4})},
                      kExpected),
            "");
}

TEST(Expectations, OneErrorListsEverything) {
  const std::string text = complaint({info("norm", DType::i8, {5}), info("bias", DType::bf16, {4}),
                                      info("rotary.inv_freq", DType::f32, {8})},
                                     kExpected);
  for (const char* piece : {"misshapen: \"norm\" is [5], expected [4]",
                            "mistyped: \"norm\" is I8, expected F32 or BF16",
                            "missing: \"a_log\", F32 [1, 1, 2, 1] or [2, 1]", "mistyped: \"bias\"",
                            "unexpected: \"rotary.inv_freq\", F32 [8]"}) {
    EXPECT_NE(text.find(piece), std::string::npos) << piece << "\n not in: " << text;
  }
}

TEST(Expectations, IgnoredExtras) {
  const std::vector<TensorInfo> tensors{
      info("norm", DType::f32, {4}), info("a_log", DType::f32, {2, 1}),
      info("x.inv_freq", DType::f32, {8}), info("x.other", DType::f32, {8})};
  const std::string text = complaint(
      tensors, kExpected, [](std::string_view name) { return name.ends_with("inv_freq"); });
  EXPECT_EQ(text.find("inv_freq"), std::string::npos);
  EXPECT_NE(text.find("x.other"), std::string::npos);
}

TEST(Expectations, ExtrasOfNoElementsCarryNothing) {
  EXPECT_EQ(complaint({info("norm", DType::f32, {4}), info("a_log", DType::f32, {2, 1}),
                       info("shared.up_proj.weight", DType::f32, {0, 16})},
                      kExpected),
            "");
  EXPECT_NE(complaint({info("norm", DType::f32, {0}), info("a_log", DType::f32, {2, 1})}, kExpected)
                .find("misshapen: \"norm\""),
            std::string::npos);
}

TEST(Expectations, TheListIsCapped) {
  std::vector<TensorExpectation> many;
  for (int i = 0; i < 50; ++i) many.push_back({fmt::format("t{}", i), {{1}}, {DType::f32}, false});
  const std::string text = complaint({}, many);
  EXPECT_NE(text.find("and 30 more"), std::string::npos) << text;
  EXPECT_NE(text.find("\"t19\""), std::string::npos);
  EXPECT_EQ(text.find("\"t20\""), std::string::npos);
}

}  // namespace
}  // namespace sluice
