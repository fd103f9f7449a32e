#include "base/usable_cores.hpp"

#include <algorithm>
#include <cerrno>
#include <memory>
#include <new>
#include <thread>

namespace sluice {
namespace {

struct FreeSet {
  void operator()(cpu_set_t* set) const { CPU_FREE(set); }
};

// Beyond any kernel: Linux allows 8192.
constexpr std::size_t kMostIds = 1 << 20;

}  // namespace

int own_affinity(std::size_t bytes, cpu_set_t* set) { return sched_getaffinity(0, bytes, set); }

// The kernel answers EINVAL to a set that has fewer bits than it has processor ids, and a cpu_set_t
// has 1024.
int usable_cores(GetAffinity affinity) {
  for (std::size_t ids = CPU_SETSIZE; ids <= kMostIds; ids *= 2) {
    const std::unique_ptr<cpu_set_t, FreeSet> set(CPU_ALLOC(ids));
    if (!set) throw std::bad_alloc();
    const std::size_t bytes = CPU_ALLOC_SIZE(ids);
    CPU_ZERO_S(bytes, set.get());
    if (affinity(bytes, set.get()) == 0) return std::max(1, CPU_COUNT_S(bytes, set.get()));
    if (errno != EINVAL) break;
  }
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace sluice
