// ./run with tools that only say how they were called: nothing is installed, built or tested.
#include <gtest/gtest.h>

#include <filesystem>

#include "cli/sluice_program.hpp"

namespace sluice {
namespace {

class RunScript : public testing::Test {
 protected:
  RunScript() {
    std::filesystem::create_directories(scratch_.file("tree"));
    std::filesystem::create_directories(scratch_.file("tools"));
    std::filesystem::copy_file(SLUICE_SOURCE_DIR "/run", scratch_.file("tree/run"));
    std::filesystem::create_symlink("tree/run", scratch_.file("link"));
    tool("dpkg-query", "echo install ok installed");
    tool("apt-get", "exit 1");
    tool("cmake", ":");
    tool("ctest", "echo \"ctest in $PWD: $*\"");
  }

  test::Outcome call(const std::string& script_and_arguments) {
    const std::string command = "cd '" + scratch_.file("") + "' && PATH='" +
                                scratch_.file("tools") + "':\"$PATH\" " + script_and_arguments +
                                " >out 2>err </dev/null";
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, scratch_.read("out"),
            scratch_.read("err")};
  }

  test::ScratchDirectory scratch_;

 private:
  void tool(const std::string& name, const std::string& body) {
    const std::string file = scratch_.write("tools/" + name, "#!/bin/sh\n" + body + "\n");
    std::filesystem::permissions(file, std::filesystem::perms::owner_all);
  }
};

TEST_F(RunScript, WorksThroughALink) {
  const std::string tree = std::filesystem::canonical(scratch_.file("tree")).string();
  for (const char* script : {"tree/run", "./link"}) {
    const test::Outcome outcome = call(std::string(script) + " test");
    EXPECT_EQ(outcome.code, 0) << outcome.out << outcome.err;
    EXPECT_TRUE(test::contains(outcome.out, "ctest in " + tree + ": ")) << outcome.out;
  }
}

TEST_F(RunScript, PassesOptionsToCtestAndDropsNone) {
  const test::Outcome tests = call("./link test -R 'foo bar' --verbose");
  EXPECT_EQ(tests.code, 0) << tests.err;
  EXPECT_TRUE(test::contains(tests.out, " -R foo bar --verbose\n")) << tests.out;
  for (const char* wrong : {"demo --x", "demo test", "--x", ""}) {
    const test::Outcome outcome = call(std::string("./link ") + wrong);
    EXPECT_EQ(outcome.code, 2) << wrong;
    EXPECT_EQ(outcome.out, "") << wrong;
    EXPECT_TRUE(test::contains(outcome.err, "Usage: ./run demo")) << wrong;
  }
  EXPECT_TRUE(test::contains(call("./link demo --x y").err, "takes no options: --x y"));
}

}  // namespace
}  // namespace sluice
