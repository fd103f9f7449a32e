#include <gtest/gtest.h>

#include <sluice/checkpoint.hpp>
#include <sluice/error.hpp>
#include <sluice/generation_config.hpp>

#include "checkpoint/scratch_directory.hpp"

namespace sluice {
namespace {

TEST(GenerationConfig, ReadsEveryKey) {
  const GenerationConfig config = parse_generation_config(
      R"({"eos_token_id": [163586, 163585], "bos_token_id": 163584, "pad_token_id": 3,
          "do_sample": true, "temperature": 0.15, "top_k": 50, "top_p": 0.75, "min_p": 0.06,
          "transformers_version": "5.17.0"})");
  EXPECT_EQ(config.eos_token_ids, (std::vector<std::int64_t>{163586, 163585}));
  EXPECT_EQ(config.bos_token_id, 163584);
  EXPECT_EQ(config.pad_token_id, 3);
  EXPECT_EQ(config.do_sample, true);
  EXPECT_EQ(config.temperature, 0.15);
  EXPECT_EQ(config.top_k, 50);
  EXPECT_EQ(config.top_p, 0.75);
  EXPECT_EQ(config.min_p, 0.06);
}

TEST(GenerationConfig, AbsentAndNullMeanNotGiven) {
  const GenerationConfig config =
      parse_generation_config(R"({"eos_token_id": null, "pad_token_id": -1, "temperature": null})");
  EXPECT_TRUE(config.eos_token_ids.empty());
  EXPECT_FALSE(config.pad_token_id || config.bos_token_id || config.temperature || config.top_k ||
               config.do_sample || config.top_p || config.min_p);
}

TEST(GenerationConfig, RefusesWrongValuesByKey) {
  for (const char* bad :
       {R"({"eos_token_id": "2"})", R"({"eos_token_id": [1, -3]})", R"({"eos_token_id": 2.5})",
        R"({"bos_token_id": 4294967296})", R"({"do_sample": 1})", R"({"temperature": -0.5})",
        R"({"temperature": "hot"})", R"({"top_k": -5})", R"({"top_k": 1.5})", R"({"top_p": 1.5})",
        R"({"min_p": -0.1})"}) {
    const std::string text = bad;
    const std::string key = text.substr(2, text.find('"', 2) - 2);
    try {
      parse_generation_config(bad);
      ADD_FAILURE() << bad;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::checkpoint);
      EXPECT_TRUE(std::string(error.what()).starts_with("generation_config.json: " + key + " is "))
          << error.what();
    }
  }
  EXPECT_THROW(parse_generation_config("3"), Error);
  EXPECT_THROW(parse_generation_config(R"({"top_k": 1, "top_k": 2})"), Error);
}

TEST(GenerationConfig, TokenIdsFallBackToTheModelsConfig) {
  ScratchDirectory scratch;
  const Checkpoint checkpoint =
      Checkpoint::open(scratch.write("model.safetensors", safetensors_bytes("{}")));
  scratch.write("config.json",
                R"({"eos_token_id": 7, "bos_token_id": 8, "pad_token_id": 9, "top_k": 6})");
  GenerationConfig config = generation_config(checkpoint);
  EXPECT_EQ(config.eos_token_ids, (std::vector<std::int64_t>{7}));
  EXPECT_EQ(config.bos_token_id, 8);
  EXPECT_FALSE(config.top_k);  // only token ids are shared
  scratch.write("generation_config.json", R"({"eos_token_id": [1, 2], "top_p": 0.5})");
  config = generation_config(checkpoint);
  EXPECT_EQ(config.eos_token_ids, (std::vector<std::int64_t>{1, 2}));
  EXPECT_EQ(config.pad_token_id, 9);
  EXPECT_EQ(config.top_p, 0.5);
  scratch.write("config.json", R"({"pad_token_id": "9"})");
  try {
    generation_config(checkpoint);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "config.json: pad_token_id is \"9\"; a token id (0 or more) is expected");
  }
}

}  // namespace
}  // namespace sluice
