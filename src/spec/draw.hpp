// Small reproducible draws: the same seed gives the same value on every machine, which the
// distributions of <random> do not promise.
#pragma once

#include <cstdint>
#include <initializer_list>

namespace sluice {

// splitmix64 (Steele, Lea, Flood 2014): any seed, also 0, gives well-mixed bits at once.
class Draw {
 public:
  explicit Draw(std::uint64_t seed) : state_(seed) {}

  std::uint64_t bits() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  // Both ends included.
  std::int64_t integer(std::int64_t low, std::int64_t high) {
    const auto range = static_cast<std::uint64_t>(high - low) + 1;
    return low + static_cast<std::int64_t>(bits() % range);
  }
  double real(double low, double high) {
    return low + (high - low) * (static_cast<double>(bits() >> 11) * 0x1p-53);
  }

  template <typename T, typename... Rest>
  T one_of(T first, Rest... rest) {
    const std::initializer_list<T> all{first, rest...};
    return all.begin()[bits() % all.size()];
  }

 private:
  std::uint64_t state_;
};

}  // namespace sluice
