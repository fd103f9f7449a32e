#include <gtest/gtest.h>

#include <cstring>

#include <sluice/checkpoint.hpp>
#include <sluice/error.hpp>

#include "checkpoint/scratch_directory.hpp"

namespace sluice {
namespace {

// One U8 tensor per name; tensor i holds its name's first letter.
std::string shard(std::initializer_list<const char*> names) {
  std::string header = "{";
  std::string data;
  for (const char* name : names) {
    if (header.size() > 1) header += ",";
    header += std::string("\"") + name + R"(":{"dtype":"U8","shape":[1],"data_offsets":[)" +
              std::to_string(data.size()) + "," + std::to_string(data.size() + 1) + "]}";
    data += name[0];
  }
  return safetensors_bytes(header + "}", data);
}

std::string complaint(const std::filesystem::path& path, ErrorKind kind = ErrorKind::checkpoint) {
  try {
    Checkpoint::open(path);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    return error.what();
  }
  return "accepted";
}

void expect_all(const std::string& text, std::initializer_list<const char*> pieces) {
  for (const char* piece : pieces) {
    EXPECT_NE(text.find(piece), std::string::npos) << piece << "\n not in: " << text;
  }
}

TEST(Checkpoint, SingleFileByDirectoryOrName) {
  ScratchDirectory scratch;
  scratch.write("model.safetensors", shard({"z.weight", "a.weight", "m.weight"}));
  for (const auto& path : {scratch.path(), scratch.path() / "model.safetensors"}) {
    const Checkpoint checkpoint = Checkpoint::open(path);
    ASSERT_EQ(checkpoint.tensors().size(), 3u);
    EXPECT_EQ(checkpoint.tensors()[0].name, "a.weight");
    EXPECT_EQ(checkpoint.tensors()[2].name, "z.weight");
    EXPECT_EQ(checkpoint.tensors()[2].file, "model.safetensors");
    EXPECT_EQ(checkpoint.total_bytes(), 3u);
    EXPECT_EQ(checkpoint.directory(), scratch.path());
    EXPECT_TRUE(checkpoint.contains("m.weight"));
    EXPECT_FALSE(checkpoint.contains("m"));
    EXPECT_EQ(*static_cast<const char*>(checkpoint.tensor("m.weight").data), 'm');
    EXPECT_FALSE(checkpoint.find("q.weight"));
  }
}

TEST(Checkpoint, MissingTensorNamesTheNearest) {
  ScratchDirectory scratch;
  const Checkpoint checkpoint =
      Checkpoint::open(scratch.write("x.safetensors", shard({"lm_head.weight"})));
  try {
    checkpoint.tensor("lm_heads.weight");
    FAIL();
  } catch (const Error& error) {
    expect_all(error.what(), {"lm_heads.weight", "did you mean \"lm_head.weight\""});
  }
}

TEST(Checkpoint, ViewsSurviveAMoveAndARelease) {
  ScratchDirectory scratch;
  const std::string header =
      R"({"big":{"dtype":"U8","shape":[100000],"data_offsets":[0,100000]},)"
      R"("empty":{"dtype":"F32","shape":[0,5],"data_offsets":[100000,100000]}})";
  std::string data(100000, 'q');
  data[54321] = 'r';
  Checkpoint first =
      Checkpoint::open(scratch.write("x.safetensors", safetensors_bytes(header, data)));
  const TensorView view = first.tensor("big");
  const TensorView empty = first.tensor("empty");
  const Checkpoint moved = std::move(first);
  moved.release(view);
  moved.release(empty);
  EXPECT_TRUE(empty);
  EXPECT_EQ(std::memcmp(view.data, data.data(), data.size()), 0);
}

// A view that only begins inside the file must not take a neighbour's memory with it.
TEST(Checkpoint, ReleaseIgnoresForeignViews) {
  ScratchDirectory scratch;
  const Checkpoint checkpoint = Checkpoint::open(scratch.write("x.safetensors", shard({"a"})));
  TensorView too_long = checkpoint.tensor("a");
  too_long.shape = {1 << 30};
  checkpoint.release(too_long);
  std::vector<char> mine(1 << 20, 'm');
  checkpoint.release({mine.data(), DType::u8, {1 << 20}, {}});
  EXPECT_EQ(mine[1 << 19], 'm');
}

TEST(Checkpoint, Shards) {
  ScratchDirectory scratch;
  scratch.write("one.safetensors", shard({"a", "c"}));
  scratch.write("two.safetensors", shard({"b"}));
  scratch.write("model.safetensors.index.json",
                R"({"metadata": {"total_size": 3}, "weight_map": {"a": "one.safetensors",
                    "b": "two.safetensors", "c": "one.safetensors"}})");
  const Checkpoint checkpoint = Checkpoint::open(scratch.path());
  ASSERT_EQ(checkpoint.tensors().size(), 3u);
  EXPECT_EQ(checkpoint.tensors()[1].file, "two.safetensors");
  EXPECT_EQ(*static_cast<const char*>(checkpoint.tensor("c").data), 'c');
}

TEST(Checkpoint, OneErrorForEverythingWrongWithShards) {
  ScratchDirectory scratch;
  scratch.write("one.safetensors", shard({"a", "stray"}));
  scratch.write("two.safetensors", shard({"b", "a"}));
  scratch.write("bad.safetensors", "junk");
  scratch.write("model.safetensors.index.json",
                R"({"weight_map": {"a": "one.safetensors", "b": "one.safetensors",
                    "c": "two.safetensors", "d": "gone.safetensors", "e": "bad.safetensors"}})");
  const std::string text = complaint(scratch.path());
  expect_all(text, {"the shard \"gone.safetensors\" is missing", "bad.safetensors",
                    "\"stray\" is in \"one.safetensors\", but not in",
                    "\"c\" is not in \"two.safetensors\"",
                    "\"a\" is in \"one.safetensors\" and in \"two.safetensors\"",
                    "\"b\" is in \"two.safetensors\", but"});
  EXPECT_EQ(text.find("\"d\""), std::string::npos);  // its shard's line says it
}

TEST(Checkpoint, ShardsOutsideTheDirectoryAreRefused) {
  ScratchDirectory scratch;
  scratch.write("model.safetensors.index.json",
                R"({"weight_map": {"a": "../up.safetensors", "b": "/etc/passwd", "c": "sub/x",
                    "d": "..", "e": "", "f": "sub\\x", "g": 3, "h": "x\u0000.safetensors"}})");
  expect_all(complaint(scratch.path()),
             {"\"a\" is mapped to \"../up.safetensors\"", "\"b\"", "\"c\"", "\"d\"", "\"e\"",
              "\"f\"", "\"g\" is mapped to number", "\"h\""});
}

TEST(Checkpoint, BadIndexes) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "not JSON"},
      {"[]", "an object is expected"},
      {"{}", "no object weight_map"},
      {R"({"weight_map": []})", "no object weight_map"},
      {R"({"weight_map": {"a": "x", "a": "y"}})", "gives \"a\" twice"},
  };
  for (const auto& [text, expected] : cases) {
    ScratchDirectory scratch;
    scratch.write("model.safetensors.index.json", text);
    expect_all(complaint(scratch.path()), {expected});
  }
  ScratchDirectory deep;
  deep.write("model.safetensors.index.json", R"({"metadata": )" + std::string(100'000, '['));
  expect_all(complaint(deep.path()), {"nests deeper"});
}

TEST(Checkpoint, NothingThere) {
  ScratchDirectory scratch;
  expect_all(complaint(scratch.path(), ErrorKind::user), {"neither model.safetensors nor"});
  expect_all(complaint(scratch.path() / "no.safetensors", ErrorKind::user), {"no.safetensors"});
  std::filesystem::create_directory(scratch.path() / "model.safetensors");
  expect_all(complaint(scratch.path(), ErrorKind::user), {"not a regular file"});
}

TEST(Checkpoint, JsonBesideTheTensors) {
  ScratchDirectory scratch;
  const auto path = scratch.write("model.safetensors", shard({"a"}));
  const Checkpoint checkpoint = Checkpoint::open(path);
  EXPECT_FALSE(checkpoint.generation_config_text());
  EXPECT_THROW(checkpoint.config_text(), Error);
  scratch.write("config.json", "{\"model_type\": \"x\"}");
  scratch.write("generation_config.json", "{}");
  EXPECT_EQ(checkpoint.config_text(), "{\"model_type\": \"x\"}");
  EXPECT_EQ(checkpoint.generation_config_text(), "{}");
}

TEST(Checkpoint, ALinkToNowhereIsALostFile) {
  const ScratchDirectory scratch;
  scratch.write("model.safetensors", shard({"a"}));
  std::filesystem::create_symlink("pruned", scratch.path() / "generation_config.json");
  EXPECT_THROW(Checkpoint::open(scratch.path()).generation_config_text(), Error);
  // Nor do the shards of an index stand in for a single file that is lost.
  scratch.write("shard", shard({"a"}));
  scratch.write("model.safetensors.index.json", R"({"weight_map": {"a": "shard"}})");
  std::filesystem::remove(scratch.path() / "model.safetensors");
  EXPECT_EQ(Checkpoint::open(scratch.path()).tensors().size(), 1U);
  std::filesystem::create_symlink("pruned", scratch.path() / "model.safetensors");
  expect_all(complaint(scratch.path(), ErrorKind::user), {"model.safetensors cannot be opened"});
}

TEST(Checkpoint, AConfigOfUnlikelySizeIsRefusedUnread) {
  const ScratchDirectory scratch;
  scratch.write("model.safetensors", safetensors_bytes("{}"));
  const Checkpoint checkpoint = Checkpoint::open(scratch.path());
  std::filesystem::resize_file(scratch.write("config.json", "{}"), (4 << 20) + 1);
  try {
    checkpoint.config_text();
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("has 4194305 bytes; 4194304 is the limit"),
              std::string::npos)
        << error.what();
  }
}

TEST(Checkpoint, ReadsWhatHuggingFaceWrites) {
  const std::filesystem::path data = std::filesystem::path(SLUICE_TEST_DATA) / "afmoe";
  const Checkpoint sharded = Checkpoint::open(data / "sharded");
  const Checkpoint single = Checkpoint::open(data / "save_pretrained");
  EXPECT_GT(sharded.tensors().size(), 20u);
  EXPECT_EQ(sharded.tensor("model.embed_tokens.weight").shape, (Shape{56, 16}));
  EXPECT_NE(sharded.tensors().front().file, sharded.tensors().back().file);
  EXPECT_EQ(single.metadata().at("format"), "pt");
}

}  // namespace
}  // namespace sluice
