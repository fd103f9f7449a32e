// What the tokenizer's tests share.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

#include <sluice/error.hpp>

namespace sluice::tokenizer {

using Json = nlohmann::json;

inline std::string data_path(const std::string& name) {
  return std::string(SLUICE_TEST_DATA) + "/" + name;
}

inline std::string read_text(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  EXPECT_TRUE(stream) << path;
  return {std::istreambuf_iterator<char>(stream), {}};
}

inline Json read_json(const std::string& name) { return Json::parse(read_text(data_path(name))); }

// Runs `action`, which must throw an Error of the kind whose message holds `part`.
template <typename Action>
void expect_error(ErrorKind kind, const std::string& part, const Action& action) {
  try {
    action();
    ADD_FAILURE() << "no error; expected: " << part;
  } catch (const Error& error) {
    EXPECT_EQ(to_string(error.kind()), std::string(to_string(kind))) << error.what();
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos)
        << "message: " << error.what() << "\nexpected in it: " << part;
  }
}

}  // namespace sluice::tokenizer
