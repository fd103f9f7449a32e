// What other tests compare with.
#include <fmt/format.h>

#include <cmath>

#include "audit/rate_test.hpp"

namespace sluice::auditing {

Judgement judge(const Comparator& comparator, const std::vector<float>& got,
                const std::vector<float>& expected) {
  const std::size_t count = expected.size();
  if (count == 0) return {true, "nothing to compare"};
  switch (comparator.kind) {
    case ComparatorKind::allclose: {
      std::size_t close = 0;
      for (std::size_t i = 0; i < count; ++i) {
        const double gap = std::fabs(static_cast<double>(got[i]) - expected[i]);
        const double scale = std::fabs(comparator.relative_to_got ? got[i] : expected[i]);
        close += gap <= comparator.atol + comparator.rtol * scale ? 1 : 0;
      }
      const double share = static_cast<double>(close) / static_cast<double>(count);
      const bool all = comparator.fraction >= 1.0;
      return {all ? close == count : share > comparator.fraction,
              fmt::format("{:.2f} % of elements close, {:.2f} % asked", 100.0 * share,
                          100.0 * comparator.fraction)};
    }
    case ComparatorKind::cosine: {
      double dot = 0.0, a = 0.0, b = 0.0;
      for (std::size_t i = 0; i < count; ++i) {
        dot += static_cast<double>(got[i]) * expected[i];
        a += static_cast<double>(got[i]) * got[i];
        b += static_cast<double>(expected[i]) * expected[i];
      }
      const double cosine = dot / std::sqrt(a * b);
      return {cosine >= comparator.least,
              fmt::format("cosine {:.5f}, {:.5f} asked", cosine, comparator.least)};
    }
    case ComparatorKind::max_error: {
      double worst = 0.0;
      for (std::size_t i = 0; i < count; ++i) {
        const double gap = std::fabs(static_cast<double>(got[i]) - expected[i]);
        if (!(gap <= worst)) worst = gap;
      }
      return {worst <= comparator.most,
              fmt::format("largest error {:.4g}, {:.4g} allowed", worst, comparator.most)};
    }
    case ComparatorKind::bound:
      break;
  }
  return {false, "no such comparator"};
}

}  // namespace sluice::auditing
