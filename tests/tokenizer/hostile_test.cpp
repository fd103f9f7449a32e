// Damaged and hostile files: an Error that names the place, never anything else.
#include <fmt/format.h>

#include <string>
#include <utility>
#include <vector>

#include <sluice/tokenizer.hpp>

#include "tokenizer/support.hpp"

namespace sluice {
namespace {

using tokenizer::expect_error;
using tokenizer::Json;
using tokenizer::read_json;

TEST(Hostile, EveryFieldIsChecked) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {R"([{"op": "remove", "path": "/model"}])", "model is missing"},
      {R"([{"op": "replace", "path": "/model", "value": 3}])", "model must be an object; it is 3"},
      {R"([{"op": "replace", "path": "/model/vocab", "value": []}])",
       "model.vocab must be an object"},
      {R"([{"op": "replace", "path": "/model/vocab/!", "value": -1}])", "token \"!\" has id -1"},
      {R"([{"op": "replace", "path": "/model/vocab/!", "value": 16777216}])",
       "ids must be 0 to 16777215"},
      {R"([{"op": "replace", "path": "/model/vocab/!", "value": 18446744073709551615}])",
       "token \"!\" has id"},
      {R"([{"op": "replace", "path": "/model/vocab/!", "value": 1.5}])",
       "must be an integer; it is 1.5"},
      {R"([{"op": "replace", "path": "/model/vocab/!", "value": 1}])",
       "id 1 belongs to two tokens"},
      {R"([{"op": "remove", "path": "/model/vocab/!"}, {"op": "add", "path": "/model/merges/-", "value": ["!", "a"]}])",
       "is not in the vocabulary"},
      {R"([{"op": "replace", "path": "/model/merges/3", "value": "a b c"}])",
       "model.merges[3] must be"},
      {R"([{"op": "replace", "path": "/model/merges/3", "value": ["a"]}])",
       "model.merges[3] must be"},
      {R"([{"op": "replace", "path": "/model/merges/3", "value": null}])",
       "model.merges[3] must be"},
      {R"([{"op": "replace", "path": "/model/merges", "value": {}}])",
       "model.merges must be an array"},
      {R"([{"op": "replace", "path": "/model/unk_token", "value": "nope"}])",
       "model.unk_token \"nope\""},
      {R"([{"op": "replace", "path": "/model/fuse_unk", "value": "yes"}])",
       "model.fuse_unk must be true or false"},
      {R"([{"op": "replace", "path": "/added_tokens/0/id", "value": 5}])",
       "added_tokens: \"<|begin_of_text|>\" has id 5"},
      {R"([{"op": "replace", "path": "/added_tokens/1/id", "value": 600}])",
       "the next free id is 591"},
      {R"([{"op": "replace", "path": "/added_tokens/1/id", "value": -9223372036854775808}])",
       "is not between 0 and"},
      {R"([{"op": "replace", "path": "/added_tokens/1/content", "value": "<|begin_of_text|>"}])",
       "has two ids"},
      {R"([{"op": "replace", "path": "/added_tokens/1/content", "value": ""}])",
       "is an empty string"},
      {R"([{"op": "replace", "path": "/added_tokens/1/content", "value": "a"}])",
       "vocabulary says that \"a\""},
      {R"([{"op": "remove", "path": "/added_tokens/1/lstrip"}])",
       "added_tokens[].lstrip is missing"},
      {R"([{"op": "replace", "path": "/added_tokens", "value": "x"}])",
       "added_tokens must be an array"},
      {R"([{"op": "replace", "path": "/pre_tokenizer/pretokenizers/0/pattern", "value": {"Regex": "a", "String": "a"}}])",
       "must have either Regex or String"},
      {R"([{"op": "replace", "path": "/post_processor", "value": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x", "type_id": 0}}], "special_tokens": {}}}])",
       "post_processor.special_tokens.x is missing"},
      {R"([{"op": "replace", "path": "/post_processor", "value": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x"}}], "special_tokens": {"x": {"id": "x", "ids": [99999]}}}}])",
       "must be ids of the vocabulary; it is 99999"},
      {R"([{"op": "replace", "path": "/post_processor", "value": {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "B"}}], "special_tokens": {}}}])",
       "a single text is A"}};
  for (const auto& [patch, message] : cases) {
    expect_error(ErrorKind::checkpoint, message, [&, &patch = patch] {
      const Json file = read_json("tokenizer/trinity.json").patch(Json::parse(patch));
      Tokenizer::from_tokenizer_json(file.dump());
    });
  }
}

TEST(Hostile, DamagedJsonOfAnyKind) {
  for (const std::string text :
       {"", "{", "[]", "null", "{\"model\": \"\xFF\"}", "{\"a\": \"\\ud800\"}", "\0\0"}) {
    EXPECT_THROW(Tokenizer::from_tokenizer_json(text), Error) << text;
  }
  EXPECT_THROW(Tokenizer::from_tokenizer_json(std::string(200'000, '[')), Error);
  const std::string good = tokenizer::read_text(tokenizer::data_path("tokenizer/trinity.json"));
  for (std::size_t length = 0; length + 2 < good.size(); length += 997) {
    EXPECT_THROW(Tokenizer::from_tokenizer_json(good.substr(0, length)), Error);
  }
  EXPECT_THROW(Tokenizer::from_tokenizer_json(good, "[1]"), Error);
  EXPECT_THROW(Tokenizer::from_tokenizer_json(good, R"({"bos_token": 3})"), Error);
}

// A checkpoint has five files of JSON: which of them is it?
TEST(Hostile, TheFileIsNamed) {
  const auto refused = [](const std::string& message, const std::string& json,
                          const std::string& config) {
    try {
      Tokenizer::from_tokenizer_json(json, config);
      ADD_FAILURE() << message;
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).substr(0, message.size()), message);
    }
  };
  const std::string good = tokenizer::read_text(tokenizer::data_path("tokenizer/trinity.json"));
  refused("tokenizer.json: decoder is missing", "{}", "{}");
  refused("tokenizer.json is not JSON", "{", "{}");
  refused("tokenizer_config.json: its root must be an object; it is array", good, "[1]");
  refused("tokenizer_config.json: eos_token must be an object; it is 4", good,
          R"({"eos_token": 4})");
  refused("tokenizer_config.json: eos_token is \"<none>\", which is not", good,
          R"({"eos_token": "<none>"})");
}

// Written into the text: a Json of this depth could not be printed either.
TEST(Hostile, DeepValuesWhereATextIsExpected) {
  for (const std::string name : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"}) {
    Json file = read_json("tokenizer/trinity.json");
    file["model"][name] = "HERE";
    const std::string text = file.dump();
    const std::size_t at = text.find("\"HERE\"");
    const auto with = [&](std::size_t levels) {
      return text.substr(0, at) + std::string(levels, '[') + std::string(levels, ']') +
             text.substr(at + 6);
    };
    expect_error(ErrorKind::checkpoint, "tokenizer.json nests deeper than 64 levels",
                 [&] { Tokenizer::from_tokenizer_json(with(100'000)); });
    expect_error(ErrorKind::checkpoint, "must be a number, a text or null; it is array",
                 [&] { Tokenizer::from_tokenizer_json(with(2)); });
  }
}

TEST(Hostile, DeepSequencesAndLongTokens) {
  Json deep = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
  for (int i = 0; i < 20; ++i) deep = {{"type", "Sequence"}, {"pretokenizers", {deep}}};
  Json file = read_json("tokenizer/trinity.json");
  file["pre_tokenizer"] = deep;
  expect_error(ErrorKind::checkpoint, "nest deeper than 16",
               [&] { Tokenizer::from_tokenizer_json(file.dump()); });
  const Json digits = {{"type", "Digits"}, {"individual_digits", true}};
  file["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", Json(100, digits)}};
  expect_error(ErrorKind::unsupported, "has 100 steps; 64 is the limit",
               [&] { Tokenizer::from_tokenizer_json(file.dump()); });
  file = read_json("tokenizer/trinity.json");
  file["added_tokens"][0]["content"] = std::string(2000, 'x');
  expect_error(ErrorKind::checkpoint, "has 2000 bytes; the limit is 1024",
               [&] { Tokenizer::from_tokenizer_json(file.dump()); });
  file = read_json("tokenizer/trinity.json");
  file["model"]["vocab"][std::string(70'000, 'a')] = 1000;
  expect_error(ErrorKind::checkpoint, "has 70000 bytes; the limit is 65536",
               [&] { Tokenizer::from_tokenizer_json(file.dump()); });
}

// Stripping anew behind every token, or exchanging neighbours, takes many minutes.
TEST(Hostile, LongRunsOfSpacesAndOfMarks) {
  Json file = read_json("tokenizer/trinity.json");
  file["normalizer"] = {{"type", "NFC"}};
  Json space = file["added_tokens"][0];
  space.update({{"id", 594}, {"content", "  "}, {"rstrip", true}});
  file["added_tokens"].push_back(space);
  const auto tokenizer = Tokenizer::from_tokenizer_json(file.dump());
  EXPECT_EQ(tokenizer.encode(std::string(100'000, ' '), false).size(), 50'000u);
  std::string marks = "a", ordered = "a";  // U+0301 is of class 230, U+0323 of class 220
  for (int i = 0; i < 100'000; ++i) marks += "\u0301\u0323";
  for (int i = 0; i < 100'000; ++i) ordered += "\u0323";
  for (int i = 0; i < 100'000; ++i) ordered += "\u0301";
  EXPECT_EQ(tokenizer.encode(marks, false), tokenizer.encode(ordered, false));
}

constexpr auto kNoTokens = R"({"added_tokens_decoder": {}})";

TEST(Hostile, TiktokenLines) {
  std::string good = tokenizer::read_text(tokenizer::data_path("tokenizer/kimi/tiktoken.model"));
  const std::vector<std::pair<std::string, std::string>> cases{
      {"IQ==", "expected \"base64 rank\""},
      {"IQ== ", "expected \"base64 rank\""},
      {"IQ== 1x", "expected \"base64 rank\""},
      {"I!== 600", "expected \"base64 rank\""},
      {"IQ= 600", "expected \"base64 rank\""},
      {"I=Q= 600", "expected \"base64 rank\""},
      {"IR== 600", "expected \"base64 rank\""},  // stray bits
      {" 600", "expected \"base64 rank\""},
      {"YWJjZGVmZ2hp 602", "ranks must be 0 to n-1"},
      {"YWJjZGVmZ2hp -1", "has id -1"},
      {"YWJjZGVmZ2hp 599", "id 599 belongs to two tokens"},
      {"IQ== 600", "token \"!\" has two ids"},
      {"YWJjZGVmZ2hp 99999999999999999999", "expected \"base64 rank\""}};
  for (const auto& [line, message] : cases) {
    expect_error(ErrorKind::checkpoint, message, [&, &line = line] {
      Tokenizer::from_tiktoken(fmt::format("{}{}\n", good, line), kNoTokens);
    });
  }
  expect_error(ErrorKind::checkpoint, "byte 0x00 has no rank",
               [] { Tokenizer::from_tiktoken("IQ== 0\n", kNoTokens); });
  expect_error(ErrorKind::checkpoint, "byte 0x00 has no rank",
               [] { Tokenizer::from_tiktoken("", kNoTokens); });
  const auto windows = Tokenizer::from_tiktoken(good + "YWJjZGVmZ2hp 600\r\n\r\n", kNoTokens);
  EXPECT_EQ(windows.encode("abcdefghi"), std::vector<TokenId>{600});
}

}  // namespace
}  // namespace sluice
