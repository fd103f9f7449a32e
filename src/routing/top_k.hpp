// The K best of n: higher score first, then lower index; NaN counts as -inf, -0 as +0.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>

namespace sluice {

// Orders exactly as the rule above: a larger key is a better candidate, and no two are equal.
inline std::uint64_t choice_key(float score, std::int64_t index) {
  if (std::isnan(score)) score = -std::numeric_limits<float>::infinity();
  const auto bits = std::bit_cast<std::uint32_t>(score + 0.0f);  // -0 + 0 is +0
  const std::uint32_t ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return (std::uint64_t{ordered} << 32) | (0xffffffffu - static_cast<std::uint32_t>(index));
}

inline std::int32_t index_of_key(std::uint64_t key) {
  return static_cast<std::int32_t>(0xffffffffu - static_cast<std::uint32_t>(key));
}

// Leaves the keys of the best in `best`, best first; best.size() <= scores.size(). Insertion into
// a short sorted list: most candidates fail the one comparison with the worst kept, and an equal or
// NaN candidate fails it too, as it must: its index is higher.
inline void choose_top(std::span<const float> scores, std::span<std::uint64_t> best) {
  const auto insert = [&](std::size_t i, std::size_t at) {
    const std::uint64_t key = choice_key(scores[i], static_cast<std::int64_t>(i));
    for (; at > 0 && best[at - 1] < key; --at) best[at] = best[at - 1];
    best[at] = key;
  };
  const auto worst_kept = [&] {
    const float score = scores[static_cast<std::size_t>(index_of_key(best.back()))];
    return std::isnan(score) ? -std::numeric_limits<float>::infinity() : score;
  };
  if (best.empty()) return;
  for (std::size_t i = 0; i < best.size(); ++i) insert(i, i);
  float worst = worst_kept();
  for (std::size_t i = best.size(); i < scores.size(); ++i) {
    if (!(scores[i] > worst)) continue;
    insert(i, best.size() - 1);
    worst = worst_kept();
  }
}

}  // namespace sluice
