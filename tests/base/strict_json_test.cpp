#include "base/strict_json.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace sluice {
namespace {

std::string complaint(const std::string& text) {
  try {
    parse_json_object(text, "the spec", ErrorKind::user);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::user);
    return error.what();
  }
  return "accepted";
}

TEST(StrictJson, SaysWhereItWentWrong) {
  EXPECT_EQ(complaint("{\"a\": 1,\n \"b\": 2,}"),
            "the spec is not JSON: it ends early or goes wrong at line 2, column 9, behind "
            "\" \"b\": 2,\"");
  EXPECT_EQ(complaint(""), "the spec is not JSON: it ends early or goes wrong at line 1, column 1");
  EXPECT_EQ(complaint("{\"a\": \"äöüäöüäöüäöüäöü\" x}").find("json.exception"), std::string::npos);
  EXPECT_NE(complaint("{\"a\": 1e999}").find("beyond the range of double"), std::string::npos);
}

TEST(StrictJson, TakesOneObjectWithoutRepetition) {
  EXPECT_EQ(complaint("{\"a\": {\"b\": [1]}, \"b\": 2}"), "accepted");
  EXPECT_EQ(complaint("[1]"), "the spec holds array; an object is expected");
  EXPECT_EQ(complaint("{\"a\": 1, \"a\": 1}"), "the spec gives \"a\" twice");
  EXPECT_NE(complaint("{\"a\":" + std::string(100000, '[')).find("nests deeper"),
            std::string::npos);
}

TEST(StrictJson, LimitsDepthWhateverTheRoot) {
  const auto nested = [](int levels) {
    return std::string(static_cast<std::size_t>(levels), '[') +
           std::string(static_cast<std::size_t>(levels), ']');
  };
  const auto read = [](const std::string& text) {
    return parse_json(text, "tokenizer.json", ErrorKind::checkpoint);
  };
  EXPECT_TRUE(read(nested(kDeepestJson)).is_array());
  for (const std::string& text : {nested(kDeepestJson + 1), std::string(1 << 20, '[')}) {
    try {
      read(text);
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_STREQ(error.what(), "tokenizer.json nests deeper than 64 levels");
    }
  }
}

// A parser's callback would look through all elder siblings behind each: 5·10⁹ steps.
TEST(StrictJson, ReadsManyObjectsInLinearTime) {
  std::string text = "{\"a\": [{}";
  for (int i = 0; i < 100'000; ++i) text += ",{}";
  EXPECT_EQ(complaint(text + "]}"), "accepted");
}

}  // namespace
}  // namespace sluice
