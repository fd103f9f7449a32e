// Regimes: the situations in which bugs of docs/lost-parameters.md show.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include <sluice/backend.hpp>

#include "audit/case.hpp"
#include "audit/cases/draw_spec.hpp"

namespace sluice::auditing {

struct Regime {
  std::string_view name;
  std::string_view meaning;
  std::string_view classes;  // letters of docs/lost-parameters.md that need it
  bool slow = false;         // only in the full suite
  // nullopt where the backend's claims leave nothing to draw.
  std::optional<Case> (*make)(const SpecSource& source, std::uint64_t seed);
};

std::span<const Regime> regimes();

// A case of a given spec with ordinary logits: for checks of one field. `tokens` rows.
Case plain_case(const MoeSpec& spec, std::uint64_t seed, std::int64_t tokens);

// As above with integers throughout and given routing: the bound is zero.
std::optional<Case> exact_case(const SpecSource& source, std::uint64_t seed);

}  // namespace sluice::auditing
