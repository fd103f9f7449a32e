#include "base/usable_cores.hpp"

#include <gtest/gtest.h>

#include <cerrno>

namespace sluice {
namespace {

// A kernel with 5000 processor ids, the last three of them ours.
int many_ids(std::size_t bytes, cpu_set_t* set) {
  if (bytes * 8 < 5000) {
    errno = EINVAL;
    return -1;
  }
  for (int id = 4997; id < 5000; ++id) CPU_SET_S(id, bytes, set);
  return 0;
}

int refuses(std::size_t, cpu_set_t*) {
  errno = EPERM;
  return -1;
}

TEST(UsableCores, AreCountedOnKernelsWithMoreIdsThanASetHolds) {
  EXPECT_EQ(usable_cores(many_ids), 3);
}

TEST(UsableCores, AreTheMachinesWhereTheSetIsHidden) {
  EXPECT_GE(usable_cores(refuses), usable_cores());
}

TEST(UsableCores, AreThisProcesss) {
  cpu_set_t set;
  ASSERT_EQ(sched_getaffinity(0, sizeof set, &set), 0);
  EXPECT_EQ(usable_cores(), CPU_COUNT(&set));
}

}  // namespace
}  // namespace sluice
