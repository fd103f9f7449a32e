// Reading checkpoints: both dialects, special tokens, and what is refused by name.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include <sluice/tokenizer.hpp>

#include "tokenizer/support.hpp"

namespace sluice {
namespace {

using tokenizer::data_path;
using tokenizer::expect_error;
using tokenizer::Json;
using tokenizer::read_json;
using tokenizer::read_text;

Json trinity() { return read_json("tokenizer/trinity.json"); }
Tokenizer made(const Json& file, const std::string& config = "") {
  return Tokenizer::from_tokenizer_json(file.dump(), config);
}

TEST(Load, NamedTokensComeFromTheConfigAsTextOrObject) {
  const auto t = made(trinity(), R"({"bos_token": {"content": "<|begin_of_text|>", "lstrip": false},
                                     "eos_token": "<|im_end|>", "pad_token": null})");
  ASSERT_TRUE(t.bos() && t.eos());
  EXPECT_EQ(t.token_of(*t.bos()), "<|begin_of_text|>");
  EXPECT_EQ(t.token_of(*t.eos()), "<|im_end|>");
  EXPECT_NE(t.bos(), t.eos());
  EXPECT_FALSE(t.pad());
  EXPECT_TRUE(t.is_special(*t.eos()));
  EXPECT_FALSE(t.is_special(0));
  EXPECT_FALSE(t.has_chat_template());
  expect_error(ErrorKind::checkpoint, "bos_token is \"<s>\", which is not a token",
               [] { made(trinity(), R"({"bos_token": "<s>"})"); });
}

TEST(Load, VocabularyBothWaysAndItsEnd) {
  const auto t = made(trinity());
  EXPECT_EQ(t.vocab_size(), 594);
  for (TokenId id = 0; id < t.vocab_size(); ++id) {
    const auto token = t.token_of(id);
    ASSERT_TRUE(token) << id;
    EXPECT_EQ(t.id_of(*token), id);
  }
  for (const TokenId id : {-1, 594, 1 << 30}) {
    EXPECT_FALSE(t.token_of(id));
    EXPECT_EQ(t.decode(std::vector<TokenId>{0, id, 1}), "!\"");
  }
  EXPECT_FALSE(t.id_of("no such token"));
}

TEST(Load, MergesInBothForms) {
  Json file = trinity();
  const auto pairs = made(file);
  for (Json& merge : file["model"]["merges"]) {
    merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  }
  file["model"]["merges"].insert(file["model"]["merges"].begin(), "#version: 0.2");
  const std::string text = "The quick brown fox, 12345 \u4f60\u597d";
  EXPECT_EQ(made(file).encode(text), pairs.encode(text));
  EXPECT_LT(pairs.encode(text).size(), text.size());
}

TEST(Load, InvalidTextIsReadAsReplacementCharacters) {
  const auto t = made(trinity());
  EXPECT_EQ(t.encode("a\xFF\xE2\x82z"), t.encode("a\uFFFD\uFFFDz"));
  EXPECT_NE(t.encode("a\xFFz"), t.encode("az"));
}

TEST(Load, SpecialTextCanBeOrdinary) {
  const auto t = made(trinity());
  const auto id = t.id_of("<|im_end|>").value();
  const std::string text = "x<|im_end|>";
  EXPECT_EQ(t.encode(text).back(), id);
  const auto ordinary = t.encode(text, true, SpecialText::ordinary);
  EXPECT_EQ(std::count(ordinary.begin(), ordinary.end(), id), 0);
  EXPECT_EQ(t.decode(ordinary), text);
  EXPECT_EQ(t.decode(t.encode(text)), "x");
}

// Ids of Hugging Face tokenizers 0.23.3; <r> takes the white space behind it, "\n" what is before
// it.
TEST(Load, WhiteSpaceBetweenStrippingTokensCountsOnce) {
  const auto with = [](bool lstrip, bool rstrip) {
    Json file = trinity();
    Json token = file["added_tokens"][0];
    token.update({{"id", 594}, {"content", "<r>"}, {"lstrip", false}, {"rstrip", true}});
    file["added_tokens"].push_back(token);
    token.update({{"id", 595}, {"content", "\n"}, {"lstrip", lstrip}, {"rstrip", rstrip}});
    file["added_tokens"].push_back(token);
    return made(file);
  };
  const auto left = with(true, false);
  using Ids = std::vector<TokenId>;
  EXPECT_EQ(left.encode("<r>\nx", false), (Ids{594, 87}));
  EXPECT_EQ(left.encode("\n<r>\n", false), (Ids{595, 594}));
  EXPECT_EQ(left.encode("<r>\n<r>", false), (Ids{594, 594}));
  EXPECT_EQ(left.encode("x \n y", false), (Ids{87, 595, 220, 88}));
  // Hugging Face panics on these two.
  EXPECT_EQ(left.encode("<r>\n\nx", false), (Ids{594, 87}));
  EXPECT_EQ(left.encode("<r> \n x", false), (Ids{594, 87}));
  EXPECT_EQ(with(true, true).encode("<r>\n \n\nx", false), (Ids{594, 87}));
  // Without lstrip it claims what was stripped.
  EXPECT_EQ(with(false, false).encode("<r>\n\nx", false), (Ids{594, 595, 595, 87}));
}

// tokenizers 0.23.3 gives such a text one id in one process and another in the next.
TEST(Load, TwoAddedTokensOfOneNormalizedTextAreRefused) {
  const auto with = [](const char* normalizer, bool first_normalized, const char* second) {
    Json file = trinity();
    file["normalizer"] = Json::parse(normalizer);
    Json token = file["added_tokens"][0];
    token.update({{"id", 594}, {"content", "caf\u00e9"}, {"normalized", first_normalized}});
    file["added_tokens"].push_back(token);
    token.update({{"id", 595}, {"content", second}, {"normalized", true}});
    file["added_tokens"].push_back(token);
    return made(file);
  };
  const char* nfc = R"({"type": "NFC"})";
  const char* decomposed = "cafe\u0301";
  expect_error(ErrorKind::checkpoint,
               "\"caf\u00e9\" (id 594) and \"cafe\u0301\" (id 595) are the same text",
               [&] { with(nfc, true, decomposed); });
  // Told apart where one is not normalized, or nothing is.
  using Ids = std::vector<TokenId>;
  const auto exact = with(nfc, false, decomposed);
  EXPECT_EQ(exact.encode("caf\u00e9", false), (Ids{594}));
  EXPECT_EQ(exact.encode("cafe\u0301", false), (Ids{595}));
  EXPECT_EQ(with("null", true, decomposed).encode("cafe\u0301", false), (Ids{595}));
  EXPECT_EQ(with(nfc, true, "cafe").encode("cafe\u0301", false), (Ids{594}));
}

TEST(Load, UnknownComponentsAreRefusedByName) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {R"([{"op": "replace", "path": "/normalizer", "value": {"type": "NFKC"}}])",
       "normalizer is of type NFKC"},
      {R"([{"op": "replace", "path": "/normalizer", "value": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]}}])",
       "normalizer.normalizers[1] is of type Lowercase"},
      {R"([{"op": "replace", "path": "/pre_tokenizer/pretokenizers/1", "value": {"type": "Metaspace"}}])",
       "pre_tokenizer.pretokenizers[1] is of type Metaspace"},
      {R"([{"op": "replace", "path": "/pre_tokenizer/pretokenizers/0/behavior", "value": "Isolate"}])",
       "behavior is \"Isolate\""},
      {R"([{"op": "add", "path": "/pre_tokenizer/pretokenizers/0/greedy", "value": true}])",
       "greedy is not a field"},
      {R"([{"op": "remove", "path": "/pre_tokenizer/pretokenizers/3"}])", "0 ByteLevel steps"},
      {R"([{"op": "replace", "path": "/decoder", "value": {"type": "WordPiece"}}])",
       "decoder is of type WordPiece"},
      {R"([{"op": "replace", "path": "/post_processor", "value": {"type": "BertProcessing"}}])",
       "post_processor is of type BertProcessing"},
      {R"([{"op": "replace", "path": "/model/type", "value": "Unigram"}])",
       "model is of type Unigram"},
      {R"([{"op": "replace", "path": "/model/dropout", "value": 0.1}])", "model.dropout is 0.1"},
      {R"([{"op": "replace", "path": "/model/end_of_word_suffix", "value": "</w>"}])",
       "model.end_of_word_suffix is \"</w>\""},
      {R"([{"op": "replace", "path": "/model/byte_fallback", "value": true}, {"op": "remove", "path": "/model/vocab/!"}])",
       "byte_fallback"},
      {R"([{"op": "add", "path": "/model/future", "value": 1}])", "model.future is not a field"},
      {R"([{"op": "replace", "path": "/version", "value": "2.0"}])", "version 2.0"}};
  for (const auto& [patch, message] : cases) {
    expect_error(ErrorKind::unsupported, message,
                 [&, &patch = patch] { made(trinity().patch(Json::parse(patch))); });
  }
}

class Directory : public testing::Test {
 protected:
  void SetUp() override {
    path_ =
        std::filesystem::temp_directory_path() /
        ("sluice_tokenizer_" + std::to_string(std::hash<std::string>{}(
                                   testing::UnitTest::GetInstance()->current_test_info()->name())));
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  void TearDown() override { std::filesystem::remove_all(path_); }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
  }
  std::filesystem::path path_;
};

TEST_F(Directory, TokenizerJsonComesBeforeTiktokenAndJinjaBeforeTheConfig) {
  expect_error(ErrorKind::checkpoint, "neither tokenizer.json nor tiktoken.model",
               [&] { Tokenizer::load(path_); });
  write("tiktoken.model", read_text(data_path("tokenizer/kimi/tiktoken.model")));
  write(
      "tokenizer_config.json",
      R"({"added_tokens_decoder": {}, "chat_template": [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "C"}]})");
  EXPECT_EQ(Tokenizer::load(path_).vocab_size(), 600 + 258);
  EXPECT_EQ(Tokenizer::load(path_).render_chat({}, false), "C");
  write("tokenizer.json", trinity().dump());
  write("chat_template.jinja", "J{{ 1 }}\n");
  EXPECT_EQ(Tokenizer::load(path_).vocab_size(), 594);
  EXPECT_EQ(Tokenizer::load(path_).render_chat({}, false), "J1");
  std::filesystem::remove(path_ / "tokenizer.json");
  std::filesystem::create_directory(path_ / "tokenizer.json");
  expect_error(ErrorKind::checkpoint, "tokenizer.json cannot be read",
               [&] { Tokenizer::load(path_); });
}

TEST_F(Directory, APathThatIsNoneIsCalledWrong) {
  write("file", "x");
  const auto refused = [](const std::filesystem::path& path, const std::string& part) {
    expect_error(ErrorKind::user, part, [&] { Tokenizer::load(path); });
  };
  refused(path_ / "nowhere", "there is no directory \"" + (path_ / "nowhere").string() + "\"");
  refused("", "there is no directory \"\"");
  refused(path_ / "file", "file is not a directory");
}

// The special tokens of tiktoken.model stand in tokenizer_config.json alone.
TEST_F(Directory, ALostFileIsNotAnAbsentOne) {
  write("tiktoken.model", read_text(data_path("tokenizer/kimi/tiktoken.model")));
  const auto refused = [&](const std::string& part) {
    expect_error(ErrorKind::checkpoint, part, [&] { Tokenizer::load(path_); });
  };
  refused("no tokenizer_config.json with \"added_tokens_decoder\"");
  write("tokenizer_config.json", "{}");
  refused("no tokenizer_config.json with \"added_tokens_decoder\"");
  write("tokenizer_config.json", "");
  refused("tokenizer_config.json is empty");
  write("tokenizer.json", trinity().dump());  // nor is it with a tokenizer that can do without
  refused("tokenizer_config.json is empty");
  for (const std::string target : {"pruned", "tokenizer_config.json"}) {
    std::filesystem::remove(path_ / "tokenizer_config.json");
    std::filesystem::create_symlink(target, path_ / "tokenizer_config.json");
    refused("tokenizer_config.json cannot be read");
  }
  std::filesystem::remove(path_ / "tokenizer_config.json");
  EXPECT_EQ(Tokenizer::load(path_).vocab_size(), 594);
  std::filesystem::create_symlink("pruned", path_ / "chat_template.jinja");
  refused("chat_template.jinja cannot be read");
}

TEST(Kimi, ReservedTokensAndToolTokens) {
  Json config = read_json("tokenizer/kimi/tokenizer_config.json");
  config["added_tokens_decoder"]["613"]["special"] =
      false;  // <|tool_call_begin|>: text for whoever parses it
  const auto t = Tokenizer::from_tiktoken(read_text(data_path("tokenizer/kimi/tiktoken.model")),
                                          config.dump());
  EXPECT_EQ(t.token_of(605), "<|reserved_token_605|>");
  EXPECT_EQ(t.encode("<|reserved_token_857|>[BOS]"), (std::vector<TokenId>{857, 600}));
  EXPECT_EQ(t.encode("a<|reserved_token_858|>").size() > 2, true);
  const auto ids = t.encode("<|im_end|>x<|tool_call_begin|>");
  EXPECT_EQ(ids.size(), 3U);
  EXPECT_EQ(t.decode(ids), "x<|tool_call_begin|>");
  EXPECT_TRUE(t.is_special(605));
}

TEST(Kimi, OnlyMoonshotsClassIsKnown) {
  const std::string ranks = read_text(data_path("tokenizer/kimi/tiktoken.model"));
  expect_error(ErrorKind::unsupported, "QWenTokenizer",
               [&] { Tokenizer::from_tiktoken(ranks, R"({"tokenizer_class": "QWenTokenizer"})"); });
  expect_error(ErrorKind::checkpoint, "special tokens have ids 600 to 857", [&] {
    Tokenizer::from_tiktoken(ranks, R"({"added_tokens_decoder": {"858": {"content": "<x>"}}})");
  });
  expect_error(ErrorKind::checkpoint, "\"1e3\" is not a token id", [&] {
    Tokenizer::from_tiktoken(ranks, R"({"added_tokens_decoder": {"1e3": {"content": "<x>"}}})");
  });
}

}  // namespace
}  // namespace sluice
