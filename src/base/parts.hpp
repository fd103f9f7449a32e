// Ranges cut into parts.
#pragma once

#include <cstdint>

namespace sluice {

// Parts of `each` that `total` takes, the last one perhaps smaller.
constexpr std::int64_t ceil_div(std::int64_t total, std::int64_t each) {
  return (total + each - 1) / each;
}

// First of `total` that part `index` of `parts` covers, parts being nearly equal.
constexpr std::int64_t part_begin(std::int64_t total, std::int64_t parts, std::int64_t index) {
  return total * index / parts;
}

}  // namespace sluice
