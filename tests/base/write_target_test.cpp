#include "base/write_target.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>

namespace sluice {
namespace {

namespace fs = std::filesystem;

class WriteTargetTest : public testing::Test {
 protected:
  WriteTargetTest() {
    std::string pattern = (fs::temp_directory_path() / "sluice-XXXXXX").string();
    directory = fs::canonical(mkdtemp(pattern.data()));
  }
  ~WriteTargetTest() override { fs::remove_all(directory); }

  fs::path directory;
};

TEST_F(WriteTargetTest, LinksAreFollowedToWhatIsWritten) {
  fs::create_directory(directory / "there");
  fs::create_symlink("there/file", directory / "link");
  fs::create_symlink("link", directory / "link-to-link");
  for (const bool exists : {false, true}) {
    if (exists) std::ofstream(directory / "there/file") << "old";
    for (const char* name : {"link", "link-to-link", "there/file"}) {
      const WriteTarget target = write_target(directory / name);
      EXPECT_EQ(target.path.lexically_normal(), directory / "there/file") << name;
      EXPECT_FALSE(target.in_place) << name;
    }
  }
}

TEST_F(WriteTargetTest, DevicesAndOpenFilesAreWrittenAsTheyStand) {
  EXPECT_TRUE(write_target("/dev/null").in_place);
  std::ofstream(directory / "log") << "old";
  const int log = open((directory / "log").c_str(), O_WRONLY);
  ASSERT_GE(log, 0);
  fs::create_symlink("/dev/fd/" + std::to_string(log), directory / "link");
  for (const fs::path& path : {fs::path("/proc/self/fd/" + std::to_string(log)),
                               fs::path("/dev/fd/" + std::to_string(log)), directory / "link"}) {
    EXPECT_TRUE(write_target(path).in_place) << path;
    EXPECT_FALSE(is_standard_output(path)) << path;
  }
  close(log);
}

TEST_F(WriteTargetTest, StandardOutputHasManyNames) {
  fs::create_symlink("/dev/stdout", directory / "link");
  for (const fs::path& path : {fs::path("/dev/stdout"), fs::path("/dev/fd/1"),
                               fs::path("/proc/self/fd/1"), directory / "link"}) {
    EXPECT_TRUE(is_standard_output(path)) << path;
  }
  EXPECT_FALSE(is_standard_output(directory / "1"));
  EXPECT_FALSE(is_standard_output("/dev/null"));
}

}  // namespace
}  // namespace sluice
