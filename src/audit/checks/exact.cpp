#include "audit/checks/check.hpp"

#include <algorithm>

namespace sluice::auditing {

namespace {
constexpr int kSlowRounds = 3;
}

// The heart: every regime, every element.
void check_exact(Context& context) {
  const std::string& suite = context.options.suite;
  const bool one_class = suite.size() == 1;
  for (const Regime& regime : regimes()) {
    const bool wanted = one_class ? regime.classes.find(suite[0]) != std::string_view::npos
                                  : !regime.slow || context.slow;
    if (!wanted) continue;
    const int rounds = regime.slow ? std::min(context.rounds, kSlowRounds) : context.rounds;
    for (int round = 0; round < rounds; ++round) {
      if (context.done()) return;
      const PreparedPtr prepared = context.bank.of(regime, context.seed(round));
      // One failure of a regime says what all would say.
      if (prepared && !context.judge(prepared)) break;
    }
  }
}

}  // namespace sluice::auditing
