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

std::size_t Prepared::bytes() const {
  std::size_t stored = 0;
  std::size_t unpacked = 0;
  for (const auto& [name, tensor] : subject.tensors) {
    stored += tensor.size_bytes();
    if (name.ends_with("_proj")) {
      unpacked += sizeof(float) * static_cast<std::size_t>(tensor.elements());
    }
  }
  return stored + unpacked;
}

PreparedPtr CaseBank::prepare(Case made) const {
  if (allowances_.bf16_tokens) round_tokens_to_bf16(made);
  return std::make_shared<Prepared>(std::move(made),
                                    OracleOptions{allowances_.slot_outputs_rounded});
}

const CaseBank::Kept* CaseBank::find(const std::string& key) {
  const auto found = places_.find(key);
  if (found == places_.end()) return nullptr;
  cases_.splice(cases_.end(), cases_, found->second);
  return &cases_.back();
}

PreparedPtr CaseBank::keep(const std::string& key, PreparedPtr prepared) {
  constexpr std::size_t kMost = std::size_t{2} << 30;
  if (prepared) bytes_ += prepared->bytes();
  cases_.push_back({key, prepared});
  places_[key] = std::prev(cases_.end());
  while (bytes_ > kMost && cases_.size() > 1) {
    const Kept& oldest = cases_.front();
    if (oldest.prepared) bytes_ -= oldest.prepared->bytes();
    places_.erase(oldest.key);
    cases_.pop_front();
  }
  return prepared;
}

PreparedPtr CaseBank::of(const Regime& regime, std::uint64_t seed) {
  const std::string key = fmt::format("{}#{}", regime.name, seed);
  if (const Kept* kept = find(key)) return kept->prepared;
  std::optional<Case> made = regime.make(source_, seed);
  return keep(key, made ? prepare(std::move(*made)) : PreparedPtr{});
}

PreparedPtr CaseBank::of(const std::string& key, const std::function<Case()>& make) {
  if (const Kept* kept = find(key)) return kept->prepared;
  return keep(key, prepare(make()));
}

}  // namespace sluice::auditing
