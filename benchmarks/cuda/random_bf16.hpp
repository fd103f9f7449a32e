// Random BF16 values that host and device compute alike, so that neither has to send them over.
#pragma once

#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define SLUICE_BENCH_BOTH __host__ __device__
#else
#define SLUICE_BENCH_BOTH
#endif

namespace sluice::bench {

// Element `index` of tensor `tensor`: the sum of four uniform 16-bit numbers, near enough a normal
// distribution of standard deviation `spread`. Integers up to the one product, so that no rounding
// can differ between host and device.
SLUICE_BENCH_BOTH inline std::uint16_t random_bf16(std::uint64_t tensor, std::uint64_t index,
                                                   float spread) {
  std::uint64_t bits = (tensor << 40) + index;
  bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9ull;  // SplitMix64's finaliser
  bits = (bits ^ (bits >> 27)) * 0x94d049bb133111ebull;
  bits ^= bits >> 31;
  const auto sum = static_cast<std::int32_t>((bits & 0xffff) + (bits >> 16 & 0xffff) +
                                             (bits >> 32 & 0xffff) + (bits >> 48));
  constexpr std::int32_t kMean = 2 * 65535;
  constexpr float kDeviation = 37837.2f;  // sqrt(4 / 12) * 65536
  const float value = static_cast<float>(sum - kMean) * (spread / kDeviation);
  std::uint32_t word = 0;
  memcpy(&word, &value, sizeof word);
  return static_cast<std::uint16_t>((word + 0x7fff + (word >> 16 & 1)) >> 16);
}

}  // namespace sluice::bench
