// Specs in which as many claimed fields as can stand together are not neutral.
#pragma once

#include <compare>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include <sluice/backend.hpp>

#include "spec/draw.hpp"

namespace sluice::auditing {

struct Sizes {
  std::int64_t experts = 8;
  std::int64_t top_k = 3;
  std::int64_t hidden = 40;
  std::int64_t intermediate = 48;
  friend auto operator<=>(const Sizes&, const Sizes&) = default;
};

MoeSpec neutral_spec(const Sizes& sizes);

// Valid, claimed field by field, and accepted by supports().
bool accepts(const Backend& backend, const MoeSpec& spec);

// neutral_spec of these sizes, or of the nearest that the backend takes: wider, of more experts or
// other choices, with another score function where it has no softmax. nullopt: it takes none of
// them.
std::optional<MoeSpec> nearest_accepted(const Backend& backend, const Sizes& sizes);

// Perturbs `field` in a copy; nullopt when no value exists, or the result is not accepted, or
// another field that was not neutral would become so.
std::optional<MoeSpec> with_field(const Backend& backend, const MoeSpec& spec, const Field& field,
                                  std::uint64_t seed);

// Where specs come from: drawn for a backend, or one that was given and stays.
struct SpecSource {
  const Backend& backend;
  std::optional<MoeSpec> given;
  // What base() found: it is asked for the same few sizes all the time.
  mutable std::map<Sizes, std::optional<MoeSpec>> found = {};

  // nearest_accepted, or what was given.
  std::optional<MoeSpec> base(const Sizes& sizes) const;

  // draw_spec, or what was given.
  MoeSpec draw(const MoeSpec& base, Draw& draw,
               std::span<const std::string_view> keep_neutral = {}) const;
};

// Fields as they are, widths cut to what double precision computes in moments.
MoeSpec with_small_widths(const MoeSpec& spec);

// Starts from `base` and perturbs the claimed fields in an order drawn from the seed, skipping
// those in `keep_neutral` and what does not go with those before it.
MoeSpec draw_spec(const Backend& backend, const MoeSpec& base, Draw& draw,
                  std::span<const std::string_view> keep_neutral = {});

// Fields other than sizes that are not neutral.
std::vector<const Field*> live_fields(const MoeSpec& spec);

}  // namespace sluice::auditing
