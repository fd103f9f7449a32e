#include "audit/case_bank.hpp"

#include <fmt/format.h>

namespace sluice::auditing {

PreparedPtr CaseBank::of(const Regime& regime, std::uint64_t seed) {
  const std::string key = fmt::format("{}#{}", regime.name, seed);
  const auto found = cases_.find(key);
  if (found != cases_.end()) return found->second;
  std::optional<Case> made = regime.make(source_, seed);
  PreparedPtr prepared =
      made ? std::make_shared<Prepared>(std::move(*made), options_) : PreparedPtr{};
  cases_[key] = prepared;
  return prepared;
}

PreparedPtr CaseBank::of(const std::string& key, const std::function<Case()>& make) {
  const auto found = cases_.find(key);
  if (found != cases_.end()) return found->second;
  return cases_[key] = std::make_shared<Prepared>(make(), options_);
}

}  // namespace sluice::auditing
