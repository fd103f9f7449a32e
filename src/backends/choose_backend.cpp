#include <algorithm>
#include <vector>

#include <sluice/backend.hpp>

#include "backends/asked_backend.hpp"
#include "base/environment.hpp"
#include "base/fail.hpp"

namespace sluice {
namespace {

std::string why_not(const Candidate& candidate) {
  if (candidate.unavailable) return *candidate.unavailable;
  std::vector<std::string> lines;
  for (const Refusal& refusal : candidate.support.refusals) {
    lines.push_back(fmt::format("{} {}", refusal.field, refusal.reason));
  }
  return fmt::format("{}", fmt::join(lines, "\n  "));
}

Choice chosen(const Candidate& candidate, std::vector<Candidate> all) {
  return {candidate.backend, candidate.support.variant, std::move(all)};
}

}  // namespace

std::string asked_backend(std::string_view given) {
  return given.empty() ? environment("SLUICE_BACKEND").value_or("") : std::string(given);
}

Choice choose_backend(const MoeSpec& spec, std::string_view forced) {
  validate(spec);  // no backend's yes or no means anything for a layer that cannot be
  const std::string asked = asked_backend(forced);
  const Backend* only = asked.empty() ? nullptr : &backend(asked);

  std::vector<Candidate> candidates;
  for (const Backend* backend : backends()) {
    candidates.push_back({backend, backend->unavailable(), negotiate(*backend, spec)});
  }
  for (const Candidate& candidate : candidates) {
    if (only != nullptr && candidate.backend != only) continue;
    if (candidate.usable()) return chosen(candidate, candidates);
    if (only == nullptr) continue;
    fail(ErrorKind::unsupported,
         "backend {} was asked for and cannot compute this layer:\n  {}\nUse another backend, or "
         "leave the choice to Sluice",
         only->name(), why_not(candidate));
  }
  std::string reasons;
  for (const Candidate& candidate : candidates) {
    reasons += fmt::format("\n{}:\n  {}", candidate.backend->name(), why_not(candidate));
  }
  fail(ErrorKind::unsupported, "no backend can compute this layer:{}", reasons);
}

}  // namespace sluice
