#include "machine.hpp"

#include <gtest/gtest.h>

#include <fstream>

namespace sluice::bench {
namespace {

class Container : public testing::Test {
 protected:
  // Each test its own folder: they run at the same time.
  Container()
      : root_(testing::TempDir() + "sluice_" +
              testing::UnitTest::GetInstance()->current_test_info()->name()) {
    std::filesystem::remove_all(root_);
    std::filesystem::create_directories(root_ / "memory");
  }
  ~Container() override { std::filesystem::remove_all(root_); }
  void write(const char* file, const char* text) { std::ofstream(root_ / file) << text << '\n'; }

  std::filesystem::path root_;
};

TEST_F(Container, HasWhatItsLimitLeavesAndPagesOfFilesAgain) {
  write("memory.max", "4000000000");
  write("memory.current", "3000000000");
  write("memory.stat", "anon 900\ninactive_file 500000000\nactive_file 250000000\nfile 7");
  EXPECT_EQ(available_in_container(root_), 1.75e9);
}

TEST_F(Container, OfVersionOneHasOtherNames) {
  write("memory/memory.limit_in_bytes", "4000000000");
  write("memory/memory.usage_in_bytes", "3000000000");
  write("memory/memory.stat", "inactive_file 9\ntotal_inactive_file 500000000");
  EXPECT_EQ(available_in_container(root_), 1.5e9);
}

TEST_F(Container, WithoutALimitHasNone) {
  EXPECT_EQ(available_in_container(root_), 1e18);
  write("memory/memory.usage_in_bytes", "5");
  write("memory/memory.limit_in_bytes", "9223372036854771712");
  EXPECT_EQ(available_in_container(root_), 1e18);
  write("memory.max", "max");
  EXPECT_EQ(available_in_container(root_), 1e18);
}

}  // namespace
}  // namespace sluice::bench
