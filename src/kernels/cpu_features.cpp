#include "kernels/cpu_features.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

#include <cstdint>

namespace sluice {
namespace {

#if defined(__x86_64__)

struct Leaf {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Leaf cpuid(unsigned leaf, unsigned subleaf) {
  Leaf r;
  if (__get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx) == 0) return {};
  return r;
}

bool bit(unsigned word, int index) { return (word >> index) & 1u; }

// Which register states the operating system saves at a context switch.
std::uint64_t saved_states() {
  unsigned low = 0;
  unsigned high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (std::uint64_t{high} << 32) | low;
}

// Linux gives tile data (8 KiB per thread) only to processes that ask: ARCH_REQ_XCOMP_PERM of state
// 18, XTILEDATA. Threads inherit it, also those that exist already.
bool tile_permission() {
#if defined(__linux__)
  constexpr int kRequestPermission = 0x1023;
  constexpr int kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

CpuFeatures find() {
  CpuFeatures found;
  const Leaf one = cpuid(1, 0);
  const bool os_saves = bit(one.ecx, 27);
  if (!os_saves) return found;
  const std::uint64_t states = saved_states();
  const auto saves = [&](std::uint64_t mask) { return (states & mask) == mask; };
  const Leaf seven = cpuid(7, 0);
  const Leaf seven_one = cpuid(7, 1);
  constexpr std::uint64_t kAvx = 0x6;             // XMM, YMM
  constexpr std::uint64_t kAvx512 = kAvx | 0xe0;  // masks, ZMM
  constexpr std::uint64_t kTiles = 0x60000;       // tile configuration, tile data
  found.avx2 =
      saves(kAvx) && bit(one.ecx, 28) && bit(one.ecx, 12) && bit(one.ecx, 29) && bit(seven.ebx, 5);
  found.avx512 = found.avx2 && saves(kAvx512) && bit(seven.ebx, 16) && bit(seven.ebx, 17) &&
                 bit(seven.ebx, 30) && bit(seven.ebx, 31);
  found.avx512_bf16 = found.avx512 && bit(seven_one.eax, 5);
  found.amx_bf16 = found.avx512_bf16 && saves(kTiles) && bit(seven.edx, 22) && bit(seven.edx, 24) &&
                   tile_permission();
  const Leaf zero = cpuid(0, 0);
  found.intel = zero.ebx == signature_INTEL_ebx && zero.ecx == signature_INTEL_ecx &&
                zero.edx == signature_INTEL_edx;
  return found;
}

#else

CpuFeatures find() { return {}; }

#endif

}  // namespace

const CpuFeatures& cpu_features() {
  static const CpuFeatures features = find();
  return features;
}

}  // namespace sluice
