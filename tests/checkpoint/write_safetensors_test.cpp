#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include <sluice/checkpoint.hpp>
#include <sluice/error.hpp>

#include "checkpoint/scratch_directory.hpp"

namespace sluice {
namespace {

const std::vector<std::uint8_t> kBytes{1, 2, 3};
const std::vector<float> kFloats{1.5f, -2.5f, 3.25f, 4, 5, 6};
const std::vector<std::int64_t> kInts{-7, 1LL << 40};

std::vector<NamedTensor> tensors() {
  return {{"bytes", {kBytes.data(), DType::u8, {3}, {}}},
          {"floats", {kFloats.data(), DType::f32, {2, 3}, {}}},
          {"none", {nullptr, DType::bf16, {0, 4}, {}}},
          {"ints", {kInts.data(), DType::i64, {2}, {}}}};
}

TEST(WriteSafetensors, ReadsBackTheSame) {
  ScratchDirectory scratch;
  const auto path = scratch.path() / "out.safetensors";
  write_safetensors(path, tensors(), {{"made_by", "a \"test\""}});
  const Checkpoint read = Checkpoint::open(path);
  ASSERT_EQ(read.tensors().size(), 4u);
  EXPECT_EQ(read.metadata().at("made_by"), "a \"test\"");
  EXPECT_EQ(read.tensor("floats").shape, (Shape{2, 3}));
  EXPECT_EQ(std::memcmp(read.tensor("floats").data, kFloats.data(), 24), 0);
  EXPECT_EQ(std::memcmp(read.tensor("ints").data, kInts.data(), 16), 0);
  EXPECT_EQ(std::memcmp(read.tensor("bytes").data, kBytes.data(), 3), 0);
  EXPECT_EQ(read.tensor("none").shape, (Shape{0, 4}));
  // The mapping starts at a page, so addresses tell the alignment inside the file.
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(read.tensor("ints").data) % 8, 0u);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(read.tensor("floats").data) % 4, 0u);
}

TEST(WriteSafetensors, ReplacesWholeAndLeavesNothingBeside) {
  ScratchDirectory scratch;
  const auto path = scratch.write("out.safetensors", "an old file");
  EXPECT_THROW(write_safetensors(path, std::vector<NamedTensor>{tensors()[0], tensors()[0]}),
               Error);
  EXPECT_EQ(std::filesystem::file_size(path), 11u);
  write_safetensors(path, tensors());
  EXPECT_EQ(Checkpoint::open(path).tensors().size(), 4u);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(scratch.path()), {}), 1);
}

// A file renamed over /dev/null would break the machine for everyone.
TEST(WriteSafetensors, WritesDevicesAndPipesAsTheyStand) {
  ScratchDirectory scratch;
  const auto path = scratch.path() / "pipe";
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  const int reader = open(path.c_str(), O_RDWR | O_NONBLOCK);
  ASSERT_GE(reader, 0);
  write_safetensors(path, tensors());
  EXPECT_TRUE(std::filesystem::is_fifo(path));
  std::vector<char> seen(4096);
  EXPECT_GT(read(reader, seen.data(), seen.size()), 24 + 16 + 3);
  close(reader);
  EXPECT_THROW(write_safetensors(scratch.path(), tensors()), Error);
  EXPECT_TRUE(std::filesystem::is_directory(scratch.path()));
}

TEST(WriteSafetensors, RefusesBadLists) {
  ScratchDirectory scratch;
  const auto path = scratch.path() / "out.safetensors";
  const auto kind_of = [&](const NamedTensor& tensor) {
    try {
      write_safetensors(path, std::vector<NamedTensor>{tensor});
    } catch (const Error& error) {
      return std::string(to_string(error.kind()));
    }
    return std::string("written");
  };
  EXPECT_EQ(kind_of({"a", {nullptr, DType::f32, {2}, {}}}), "user");
  EXPECT_EQ(kind_of({"a", {kFloats.data(), DType::f32, {-2}, {}}}), "user");
  EXPECT_EQ(kind_of({"a", {kFloats.data(), DType::f4, {3}, {}}}), "user");
  EXPECT_EQ(kind_of({"a", {kFloats.data(), DType::f32, {6}, {DeviceKind::cuda, 0}}}), "user");
  EXPECT_EQ(kind_of({"__metadata__", {kFloats.data(), DType::f32, {6}, {}}}), "user");
  EXPECT_EQ(kind_of({"\xff", {kFloats.data(), DType::f32, {6}, {}}}), "user");
  EXPECT_FALSE(std::filesystem::exists(path));
  try {
    write_safetensors(scratch.path() / "no" / "such" / "folder", tensors());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::device);
  }
}

}  // namespace
}  // namespace sluice
