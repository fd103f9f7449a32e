// Median and quartiles of repeated measurements.
#pragma once

#include <algorithm>
#include <vector>

namespace sluice::bench {

struct Spread {
  double low = 0.0, median = 0.0, high = 0.0;
};

inline Spread spread_of(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const auto at = [&](double part) {
    return values[static_cast<std::size_t>(part * static_cast<double>(values.size() - 1) + 0.5)];
  };
  return {at(0.25), at(0.5), at(0.75)};
}

}  // namespace sluice::bench
