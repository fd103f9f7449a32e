#include <gtest/gtest.h>
#include <stdlib.h>
#include <sluice/error.hpp>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "kernels/cpu_features.hpp"
#include "kernels/isa_list.hpp"

namespace sluice {
namespace {

// Sets SLUICE_ISA for one test.
class Forced {
 public:
  explicit Forced(const char* name) { setenv("SLUICE_ISA", name, 1); }
  ~Forced() { unsetenv("SLUICE_ISA"); }
};

TEST(IsaList, GenericIsAlwaysThereAndLast) {
  ASSERT_FALSE(present_isas().empty());
  EXPECT_STREQ(present_isas().back()->name, "generic");
  unsetenv("SLUICE_ISA");
  EXPECT_EQ(&choose_isa(), present_isas().front());
}

// Intel's vdpbf16ps is slower than widened products, other makers' is not.
TEST(IsaList, TheFasterOfTwoComesFirst) {
  std::vector<std::string> names;
  for (const Isa* present : present_isas()) names.emplace_back(present->name);
  const auto place = [&](const char* name) { return std::find(names.begin(), names.end(), name); };
  const bool slow_pairs = cpu_features().intel;
  if (place("avx512_bf16") == names.end()) GTEST_SKIP() << "no avx512_bf16 on this machine";
  EXPECT_EQ(place("avx512") < place("avx512_bf16"), slow_pairs);
  std::ifstream cpuinfo("/proc/cpuinfo");
  const std::string text{std::istreambuf_iterator<char>(cpuinfo), {}};
  if (text.empty()) return;
  EXPECT_EQ(text.find("GenuineIntel") != text.npos, slow_pairs);
}

TEST(IsaList, TheForcedOneIsTheOneThatIsUsed) {
  for (const Isa* present : present_isas()) {
    const Forced forced(present->name);
    EXPECT_EQ(&choose_isa(), present);
  }
}

TEST(IsaList, UnknownNamesAreErrorsThatNameTheKnownAndThePresent) {
  const Forced forced("avx1024");
  try {
    choose_isa();
    FAIL() << "an unknown name was accepted";
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(error.kind(), ErrorKind::user);
    EXPECT_NE(message.find("avx1024"), std::string::npos);
    EXPECT_NE(message.find("generic"), std::string::npos);
    EXPECT_NE(message.find("this machine has"), std::string::npos);
  }
}

// Each primitive of a forced instruction set is its own code: a table copied by mistake from
// another one would pass every numeric test.
TEST(IsaList, NoTwoInstructionSetsShareTheirBf16Kernel) {
  const auto isas = present_isas();
  const auto of = [&](std::size_t i) {
    return isas[i]->bf16_bf16.run != nullptr ? isas[i]->bf16_bf16.run : isas[i]->f32_bf16.run;
  };
  for (std::size_t a = 0; a < isas.size(); ++a) {
    for (std::size_t b = 0; b < a; ++b) {
      EXPECT_NE(of(a), of(b)) << isas[a]->name << " " << isas[b]->name;
    }
  }
}

}  // namespace
}  // namespace sluice
