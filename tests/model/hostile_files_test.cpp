// Every key of every JSON file of a checkpoint, with values of every wrong kind: each is refused by
// an Error that names the key, or means nothing. Never another exception, a crash or a hang.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <sluice/error.hpp>
#include <sluice/generation_config.hpp>
#include <sluice/model.hpp>
#include <sluice/tokenizer.hpp>

#include "checkpoint/shard_index.hpp"
#include "eval/scratch_directory.hpp"

namespace sluice {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

const fs::path kDemo = SLUICE_SOURCE_DIR "/demo";

json read(const fs::path& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file) << path;
  return json::parse(file);
}

std::vector<json> wrong_values() {
  json deep = json::array();
  for (int level = 0; level < 50; ++level) deep = json::array({deep});
  return {nullptr,
          -1,
          0,
          1,
          1e18,
          1000000000000000000,
          18446744073709551615u,
          -1e-300,
          "x",
          "",
          json::array(),
          json::object(),
          true,
          json::array({-1, "x", nullptr}),
          json::object({{"x", -1}}),
          deep};
}

// Calls visit(path) for the place of every value; of a list, its first element stands for all.
void each_place(const json& value, const json::json_pointer& place,
                const std::function<void(const json::json_pointer&)>& visit) {
  if (!place.empty()) visit(place);
  if (value.is_object()) {
    for (const auto& [key, inner] : value.items()) each_place(inner, place / key, visit);
  } else if (value.is_array() && !value.empty()) {
    each_place(value[0], place / 0, visit);
  }
}

std::string last_key(json::json_pointer place) {
  while (place.back().find_first_not_of("0123456789") == std::string::npos) place.pop_back();
  return place.back();
}

// How many mutations were refused.
int mutate(const json& original, const std::function<void(const json&, const json&)>& use,
           const std::vector<std::string>& other_names = {}) {
  int refused = 0;
  each_place(original, json::json_pointer(), [&](const json::json_pointer& place) {
    for (const json& value : wrong_values()) {
      json mutated = original;
      mutated[place] = value;
      try {
        use(mutated, value);
      } catch (const Error& error) {
        ++refused;
        const std::string message = error.what();
        bool named = message.find(last_key(place)) != std::string::npos;
        for (const std::string& name : other_names) {
          named = named || message.find(name) != std::string::npos;
        }
        EXPECT_TRUE(named) << place << " = " << value.dump() << ": " << message;
        EXPECT_TRUE(error.kind() == ErrorKind::checkpoint || error.kind() == ErrorKind::unsupported)
            << message;
        EXPECT_LT(message.size(), 4000u) << place;
      } catch (const std::exception& error) {
        ADD_FAILURE() << place << " = " << value.dump() << ": " << error.what();
      }
    }
  });
  return refused;
}

// How messages of config.json name what a key is part of.
const std::vector<std::string> kOtherNames{"experts.intermediate_size", "linear_attn_config lists",
                                           "linear_attn_config.full_attn_layers"};

class HostileFiles : public testing::TestWithParam<const char*> {
 protected:
  fs::path directory() const { return kDemo / GetParam(); }
};

TEST_P(HostileFiles, ConfigJson) {
  const int refused = mutate(
      read(directory() / "config.json"),
      [](const json& config, auto&) {
        EXPECT_LT(describe_model(config.dump()).tensors.size(), 100000u) << config.dump();
      },
      kOtherNames);
  EXPECT_GT(refused, 300);
}

// What passes as a config must still fit the tensors, and is never a size to allocate by.
TEST_P(HostileFiles, ConfigJsonAgainstTheTensors) {
  const test::ScratchDirectory scratch;
  fs::create_symlink(directory() / "model.safetensors", scratch.file("model.safetensors"));
  ModelOptions options;
  options.executor = make_executor(1);
  std::vector<std::string> names = kOtherNames;
  names.insert(names.end(), {"tensor", "layers"});
  int loaded = 0;
  mutate(
      read(directory() / "config.json"),
      [&](const json& config, const json& value) {
        if (!value.is_number()) return;
        std::ofstream(scratch.file("config.json")) << config.dump();
        load_model(fs::path(scratch.file("config.json")).parent_path().string(), options);
        ++loaded;
      },
      names);
  EXPECT_GT(loaded, 20);
}

TEST_P(HostileFiles, GenerationConfigJson) {
  const int refused =
      mutate(read(directory() / "generation_config.json"),
             [](const json& config, auto&) { parse_generation_config(config.dump()); });
  EXPECT_GT(refused, 20);
}

TEST_P(HostileFiles, TokenizerFiles) {
  const test::ScratchDirectory scratch;
  const bool kimi = fs::exists(directory() / "tiktoken.model");
  const std::string vocabulary = kimi ? "tiktoken.model" : "tokenizer.json";
  fs::create_symlink(directory() / vocabulary, scratch.file(vocabulary));
  const auto use = [&](const json& config, auto&) {
    std::ofstream(scratch.file("tokenizer_config.json")) << config.dump();
    const Tokenizer tokenizer = Tokenizer::load(fs::path(scratch.file(vocabulary)).parent_path());
    tokenizer.decode(tokenizer.encode("Question: 12 + 3"));
  };
  mutate(read(directory() / "tokenizer_config.json"), use,
         {"added_tokens_decoder", "added token", "is not a token"});
}

INSTANTIATE_TEST_SUITE_P(Demo, HostileFiles, testing::Values("trinity-tiny", "kimi-linear-tiny"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(HostileFile, TokenizerJson) {
  json tokenizer = read(kDemo / "trinity-tiny" / "tokenizer.json");
  // A list and a map of thousands are walked by the fuzzers; here their first entries.
  const auto use = [](const json& text, auto&) {
    const auto made = Tokenizer::from_tokenizer_json(text.dump());
    made.decode(made.encode("Question: 12 + 3"));
  };
  json small = tokenizer;
  small["model"]["vocab"] = json::object({{"q", 0}});
  for (const auto& [token, id] : tokenizer["model"]["vocab"].items()) {
    if (token.size() <= 2) small["model"]["vocab"][token] = id;
  }
  small["model"]["merges"] = json::array();
  mutate(small, use, {"vocab", "added_tokens", "pattern", "Regex", "id ", "pre_tokenizer has 0"});
}

TEST(HostileFile, ShardIndex) {
  const json index =
      json{{"metadata", {{"total_size", 10}}},
           {"weight_map", {{"a.weight", "one.safetensors"}, {"b.weight", "two.safetensors"}}}};
  const int refused =
      mutate(index, [](const json& text, auto&) { parse_shard_index(text.dump()); }, {"mapped to"});
  EXPECT_GT(refused, 20);
}

}  // namespace
}  // namespace sluice
