#include <gtest/gtest.h>
#include <stdlib.h>
#include <sluice/error.hpp>

#include <string>

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
