// Comparing what a backend computed with the oracle, stage by stage.
#pragma once

#include <cstdint>
#include <string>

#include <sluice/audit.hpp>

#include "audit/oracle/layer.hpp"
#include "audit/run_case.hpp"

namespace sluice::auditing {

struct Comparison {
  Stage stage = Stage::none;  // the first stage that is wrong; none: all is right
  std::string message;        // names the worst place, shows both values and the bound
  std::int64_t token = -1;
  std::int64_t element = -1;  // slot for ids and weights, column for the output
  double use = 0.0;           // largest share of the bound that was needed
  std::int64_t wrong_tokens = 0;
  bool ok() const { return stage == Stage::none; }
};

struct CompareOptions {
  bool reports_routing = true;
  std::int64_t first_token = 0;  // the result holds tokens from here on …
  bool part = false;             // … and may hold fewer than the case
};

Comparison compare(const Case& subject, const Oracle& oracle, const RunResult& result,
                   const CompareOptions& options = {});

// How far `got`, a value of `dtype`, is from being a correct rounding of something within `bound`
// of `expected`, as a share of the bound: > 1 is wrong, NaN is wrong, 0 needs no bound at all.
double share_of_bound(DType dtype, double got, const Approx& expected);

}  // namespace sluice::auditing
