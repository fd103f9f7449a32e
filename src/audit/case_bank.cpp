#include "audit/case_bank.hpp"

#include <fmt/format.h>

namespace sluice::auditing {
namespace {

// For backends that take no other hidden states. What both products see is the same.
void round_tokens_to_bf16(Case& subject) {
  OwnedTensor& given = subject.tensors["hidden_states"];
  if (given.dtype() == DType::bf16) return;
  OwnedTensor rounded(DType::bf16, given.shape());
  for (std::int64_t i = 0; i < given.elements(); ++i) rounded.set(i, given.get(i));
  given = std::move(rounded);
}

}  // namespace

PreparedPtr CaseBank::prepare(Case made) const {
  if (allowances_.bf16_tokens) round_tokens_to_bf16(made);
  return std::make_shared<Prepared>(std::move(made),
                                    OracleOptions{allowances_.slot_outputs_rounded});
}

PreparedPtr CaseBank::of(const Regime& regime, std::uint64_t seed) {
  const std::string key = fmt::format("{}#{}", regime.name, seed);
  const auto found = cases_.find(key);
  if (found != cases_.end()) return found->second;
  std::optional<Case> made = regime.make(source_, seed);
  PreparedPtr prepared = made ? prepare(std::move(*made)) : PreparedPtr{};
  cases_[key] = prepared;
  return prepared;
}

PreparedPtr CaseBank::of(const std::string& key, const std::function<Case()>& make) {
  const auto found = cases_.find(key);
  if (found != cases_.end()) return found->second;
  return cases_[key] = prepare(make());
}

}  // namespace sluice::auditing
