#include "checkpoint/safetensors_header.hpp"

#include <gtest/gtest.h>

#include <sluice/error.hpp>

#include "checkpoint/scratch_directory.hpp"

namespace sluice {
namespace {

SafetensorsHeader parse(const std::string& bytes) {
  return parse_safetensors_header(std::as_bytes(std::span(bytes)), "made-up.safetensors");
}

std::string complaint(const std::string& bytes) {
  try {
    parse(bytes);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::checkpoint);
    return error.what();
  }
  return "accepted";
}

TEST(SafetensorsHeader, ReadsTensorsInFileOrder) {
  const std::string header =
      R"({"b": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [8, 20]},)"
      R"( "a": {"data_offsets": [0, 8], "shape": [], "dtype": "F64"},)"
      R"( "none": {"dtype": "I64", "shape": [3, 0], "data_offsets": [20, 20]},)"
      R"( "nibbles": {"dtype": "F4", "shape": [6], "data_offsets": [20, 23]},)"
      R"( "__metadata__": {"format": "pt", "made by": "a test"}}   )";
  const SafetensorsHeader parsed = parse(safetensors_bytes(header, std::string(23, 'x')));
  ASSERT_EQ(parsed.entries.size(), 4u);
  const std::size_t base = 8 + header.size();
  EXPECT_EQ(parsed.entries[0].name, "a");
  EXPECT_EQ(parsed.entries[0].dtype, DType::f64);
  EXPECT_EQ(parsed.entries[0].shape, Shape{});
  EXPECT_EQ(parsed.entries[1].shape, (Shape{2, 3}));
  EXPECT_EQ(parsed.entries[1].begin, base + 8);
  EXPECT_EQ(parsed.entries[1].end, base + 20);
  EXPECT_EQ(parsed.entries[2].name, "none");
  EXPECT_EQ(parsed.entries[3].dtype, DType::f4);
  EXPECT_EQ(parsed.metadata.at("made by"), "a test");
}

TEST(SafetensorsHeader, KnowsEveryDtype) {
  for (const char* name : {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F4",
                           "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"}) {
    const auto dtype = parse_dtype(name);
    ASSERT_TRUE(dtype) << name;
    const std::size_t bytes = static_cast<std::size_t>(bits(*dtype)) * 2 / 8;
    const std::string header = std::string(R"({"t": {"dtype": ")") + name +
                               R"(", "shape": [2], "data_offsets": [0, )" + std::to_string(bytes) +
                               "]}}";
    EXPECT_EQ(parse(safetensors_bytes(header, std::string(bytes, 0))).entries.at(0).dtype, *dtype);
  }
}

TEST(SafetensorsHeader, AnEmptyListOfTensorsIsLegal) {
  EXPECT_TRUE(parse(safetensors_bytes("{}")).entries.empty());
}

// One tensor of 4 bytes, with pieces replaced.
std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"t": {"dtype": ")" + dtype + R"(", "shape": )" + shape + R"(, "data_offsets": )" +
         offsets + "}}";
}

TEST(SafetensorsHeader, RefusesHostileFilesByName) {
  const std::string four(4, 0);
  const std::string good = one("U8", "[4]", "[0, 4]");
  ASSERT_EQ(complaint(safetensors_bytes(good, four)), "accepted");
  const std::string t = R"({"dtype":"U8","shape":[2],"data_offsets":[0,2]})";
  const std::string u = R"({"dtype":"U8","shape":[2],"data_offsets":[2,4]})";
  const std::string overlap = R"({"dtype":"U8","shape":[3],"data_offsets":[1,4]})";
  const std::string late = R"({"dtype":"U8","shape":[1],"data_offsets":[3,4]})";
  const struct {
    std::string bytes, expected;
  } cases[] = {
      {"", "0 bytes"},
      {"1234567", "7 bytes"},
      {"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a", "git lfs pull"},
      {safetensors_bytes("", "", 0), "begin with '{'"},
      {safetensors_bytes(good, four, 1000), "claims 1000 bytes, but only 64 follow"},
      {safetensors_bytes(good, four, 100'000'001), "limit is 100000000"},
      {safetensors_bytes(good, four, ~0ull), "limit is 100000000"},
      {safetensors_bytes(good, four, good.size() - 1), "not JSON"},
      {safetensors_bytes(" " + good, four), "begin with '{'"},
      {safetensors_bytes("[1]", ""), "begin with '{'"},
      {safetensors_bytes("{}{}", ""), "not JSON"},
      {safetensors_bytes("{\"t\xff\": 1}", ""), "not JSON"},
      {safetensors_bytes(R"({"t": 3})", ""), "a number is not allowed as \"t\""},
      {safetensors_bytes(R"({"t": null})", ""), "null is not allowed"},
      {safetensors_bytes(R"({"t": [1]})", ""), "a list is not allowed"},
      {safetensors_bytes(R"({"t": {"u": {}}})", ""), "an object is not allowed"},
      {safetensors_bytes(R"({"t": {"shape": [[1]]}})", ""), "a list is not allowed"},
      {safetensors_bytes(R"({"t": {"shape": [{}]}})", ""), "an object is not allowed"},
      {safetensors_bytes(R"({"t": {"dtype": "U8", "extra": "x"}})", ""), "has a key \"extra\""},
      {safetensors_bytes(R"({"t": {"dtype": "U8", "dtype": "U8"}})", ""), "gives \"dtype\" twice"},
      {safetensors_bytes(R"({"t": {"shape": [1], "shape": [1]}})", ""), "gives \"shape\" twice"},
      {safetensors_bytes(R"({"t": {"shape": [4], "data_offsets": [0, 4]}})", four), "no dtype"},
      {safetensors_bytes(R"({"t": {"dtype": "U8", "data_offsets": [0, 4]}})", four), "no shape"},
      {safetensors_bytes(R"({"t": {"dtype": "U8", "shape": [4]}})", four), "no data_offsets"},
      {safetensors_bytes(one("U9", "[4]", "[0, 4]"), four), "unknown dtype \"U9\""},
      {safetensors_bytes(one("U8", "[-4]", "[0, 4]"), four), "a negative number"},
      {safetensors_bytes(one("U8", "[4.0]", "[0, 4]"), four), "not whole"},
      {safetensors_bytes(one("U8", "[true]", "[0, 4]"), four), "true or false"},
      {safetensors_bytes(one("U8", "[\"4\"]", "[0, 4]"), four), "a string"},
      {safetensors_bytes(one("U8", "[1,1,1,1,4]", "[0, 4]"), four), "5 dimensions; 4 is the limit"},
      {safetensors_bytes(one("U8", "[1,1,1,1,1,1,4]", "[0, 4]"), four), "more than 4 dimensions"},
      {safetensors_bytes(one("U8", "[18446744073709551615]", "[0, 4]"), four), "the extent"},
      {safetensors_bytes(one("U8", "[18446744073709551616]", "[0, 4]"), four), "too large"},
      // 2^62 * 4 = 2^64 = 0 modulo 2^64, and 2^62 + 1 times 4 bytes = 4.
      {safetensors_bytes(one("F32", "[4611686018427387905]", "[0, 4]"), four), "not what F32"},
      {safetensors_bytes(one("U8", "[4294967296, 4294967296]", "[0, 0]"), ""), "not what U8"},
      {safetensors_bytes(one("U8", "[3]", "[0, 4]"), four), "not what U8 [3] takes"},
      {safetensors_bytes(one("F4", "[7]", "[0, 4]"), four), "not what F4 [7] takes"},
      {safetensors_bytes(one("U8", "[4]", "[0]"), four), "1 data_offsets"},
      {safetensors_bytes(one("U8", "[4]", "[0, 4, 8]"), four), "3 data_offsets"},
      {safetensors_bytes(one("U8", "[4]", "[0, 4, 4, 4, 4, 4]"), four), "more than 4 data_offsets"},
      {safetensors_bytes(one("U8", "[4]", "[4, 0]"), four), "bytes 4 to 0"},
      {safetensors_bytes(one("U8", "[4]", "[1, 5]"), four), "the file has 4 bytes of tensors"},
      {safetensors_bytes(one("U8", "[4]", "[0, 18446744073709551615]"), four), "the file has 4"},
      {safetensors_bytes(good, four + "x"), "end at byte"},
      {safetensors_bytes(one("U8", "[3]", "[1, 4]"), four), "after byte"},
      {safetensors_bytes("{\"t\":" + t + ",\"u\":" + overlap + "}", four), "overlapping byte"},
      {safetensors_bytes("{\"t\":" + t + ",\"u\":" + late + "}", four), "after byte"},
      {safetensors_bytes("{\"t\":" + t + ",\"u\":" + t + "}", four), "overlapping byte"},
      {safetensors_bytes("{\"t\":" + t + ",\"t\":" + u + "}", four), "\"t\" stands in it twice"},
      {safetensors_bytes(R"({"__metadata__": {"a": 1}})", ""), "in its metadata, at \"a\""},
      {safetensors_bytes(R"({"__metadata__": {"a": ["b"]}})", ""), "a list is not allowed"},
      {safetensors_bytes(R"({"__metadata__": {"a": {}}})", ""), "an object is not allowed"},
      {safetensors_bytes(R"({"__metadata__": {"a": "b", "a": "c"}})", ""), "gives \"a\" twice"},
      {safetensors_bytes(R"({"__metadata__": "x"})", ""), "a string is not allowed"},
  };
  for (const auto& [bytes, expected] : cases) {
    const std::string text = complaint(bytes);
    EXPECT_NE(text.find(expected), std::string::npos) << expected << "\n got: " << text;
  }
}

TEST(SafetensorsHeader, DeepNestingAndLongListsEndEarly) {
  EXPECT_NE(complaint(safetensors_bytes("{\"t\": " + std::string(1'000'000, '['))), "accepted");
  std::string list = "{\"t\": {\"shape\": [1";
  for (int i = 0; i < 1'000'000; ++i) list += ",1";
  EXPECT_NE(complaint(safetensors_bytes(list + "]}}")).find("more than 4"), std::string::npos);
}

TEST(SafetensorsHeader, MessagesStayShortAndPrintable) {
  const std::string name = "\\u001b[31m" + std::string(5'000, 'n');
  const std::string text = complaint(safetensors_bytes("{\"" + name + "\": 1}"));
  EXPECT_LT(text.size(), 400u);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace sluice
