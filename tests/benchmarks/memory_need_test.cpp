#include "memory_need.hpp"

#include <gtest/gtest.h>

#include <sluice/error.hpp>

namespace sluice::bench {
namespace {

std::string refusal(const std::function<void()>& ask) {
  try {
    ask();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::user);
    return error.what();
  }
  return "accepted";
}

TEST(MemoryNeed, IsToldWithItsPartsAndWithWhatIsThere) {
  const Shape layer = shape("1000,504,64,6");
  const MemoryPart parts[] = {{"weights", 3e9}, {"crumbs", 1e6}, {"tokens", 1.5e9}};
  EXPECT_EQ(
      refusal([&] { require_memory(layer, "memory of the GPU", parts, 4e9); }),
      "custom, H 1000, I 504, E 64, needs 4.5 GB of memory of the GPU (weights 3.0 GB, tokens "
      "1.5 GB), and 4.0 GB are available; take a smaller layer or fewer tokens");
  EXPECT_EQ(refusal([&] { require_memory(layer, "memory", parts, 4.6e9); }), "accepted");
}

TEST(MemoryNeed, CountsWhateverABenchmarkHolds) {
  MoeBenchOptions options;
  options.shape = shape("64,64,4,2");
  EXPECT_EQ(refusal([&] { require_host_memory(options, true, 2); }), "accepted");
  // Beyond any machine, each in another part; the first beyond 64 bits, too.
  options.shape = {"absurd", 1'000'000'000, 1'000'000'000, 1000, 8};
  EXPECT_NE(refusal([&] { require_host_memory(options, true, 2); }).find("the peer's 6000000262"),
            std::string::npos);
  options.shape = shape("64,64,4,2");
  options.tokens = {1, 1'000'000'000'000'000};
  EXPECT_NE(refusal([&] { require_host_memory(options, false, 2); }).find("(tokens 4"),
            std::string::npos);
  // 2 slots of 6 * 64 + 10 * 64 bytes for each.
  EXPECT_NE(refusal([&] { require_host_memory(options, true, 2); }).find("(the peer's 2048000000"),
            std::string::npos);
}

}  // namespace
}  // namespace sluice::bench
