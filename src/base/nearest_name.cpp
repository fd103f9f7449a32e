#include "base/nearest_name.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

namespace sluice {
namespace {

// Levenshtein distance, one row at a time.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row.back();
}

// A name that was left unfinished: to complete it may take more edits than to reach another name.
std::string_view completed(std::string_view typed, std::span<const std::string_view> known) {
  constexpr std::size_t kTellsSomething = 3;
  std::string_view shortest;
  if (typed.size() < kTellsSomething) return shortest;
  for (std::string_view name : known) {
    if (!name.starts_with(typed)) continue;
    if (shortest.empty() || name.size() < shortest.size()) shortest = name;
  }
  return shortest;
}

}  // namespace

std::string nearest_name(std::string_view typed, std::span<const std::string_view> known) {
  // Hostile input may be megabytes long; no name of ours is.
  constexpr std::size_t kLongestName = 64;
  if (typed.size() > kLongestName) return {};
  constexpr std::size_t kSlip = 2;  // edits; "topk" is "top_k", not the beginning of "topk_group"
  std::size_t best = std::max<std::size_t>(kSlip, typed.size() / 2) + 1;
  std::string_view nearest;
  for (std::string_view name : known) {
    const std::size_t distance = edit_distance(typed, name);
    if (distance < best) {
      best = distance;
      nearest = name;
    }
  }
  if (best <= kSlip) return std::string(nearest);
  const std::string_view whole = completed(typed, known);
  return std::string(whole.empty() ? nearest : whole);
}

std::string did_you_mean(std::string_view typed, std::span<const std::string_view> known) {
  const std::string nearest = nearest_name(typed, known);
  return nearest.empty() ? "" : " (did you mean \"" + nearest + "\"?)";
}

}  // namespace sluice
