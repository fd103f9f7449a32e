// Which choices of experts are right: docs/numerics.md §2.
#include <fmt/format.h>

#include <algorithm>

#include "audit/oracle/router.hpp"

namespace sluice::auditing {
namespace {

bool lower(const Approx& a, const Approx& b) { return a.value + a.error < b.value - b.error; }

}  // namespace

// Equal inputs give equal scores in any arithmetic: then the lower id comes first, with no excuse.
bool TokenRouting::may_precede(std::int32_t a, std::int32_t b) const {
  const auto i = static_cast<std::size_t>(a);
  const auto j = static_cast<std::size_t>(b);
  const bool both_never = choice_[i].value == kNever && choice_[j].value == kNever;
  // A logit that bf16 rounding may move either way is not known well enough to be equal.
  const bool settled_logits = router_.router_logits_dtype == LogitsDType::f32 ||
                              (logits_[i].error == 0.0 && logits_[j].error == 0.0);
  const bool same_inputs =
      settled_logits && logits_[i].value == logits_[j].value && bias_[i] == bias_[j];
  if (both_never || same_inputs) return a < b;
  const bool exact = choice_[i].error == 0.0 && choice_[j].error == 0.0;
  if (exact && choice_[i].value == choice_[j].value) return a < b;
  return !lower(choice_[i], choice_[j]);
}

// Groups whose best members have equal inputs, place by place, score the same in any arithmetic.
bool TokenRouting::groups_tie(std::size_t a, std::size_t b) const {
  if (group_scores_[a].value != group_scores_[b].value) return false;
  if (group_scores_[a].error == 0.0 && group_scores_[b].error == 0.0) return true;
  const std::size_t size = choice_.size() / group_scores_.size();
  const auto best_two = [&](std::size_t group) {
    std::vector<std::pair<double, float>> members;
    for (std::size_t e = group * size; e < (group + 1) * size; ++e) {
      members.emplace_back(logits_[e].value, bias_[e]);
    }
    const auto place = [](const auto& member) {
      const double sum = member.first + member.second;
      return std::isnan(sum) ? kNever : sum;  // std::sort needs an order
    };
    std::sort(members.begin(), members.end(),
              [&](const auto& x, const auto& y) { return place(x) > place(y); });
    members.resize(std::min<std::size_t>(size, 2));
    return members;
  };
  return router_.router_logits_dtype == LogitsDType::f32 && best_two(a) == best_two(b);
}

// A group is open if enough others may, and enough others need not, stand before it.
TokenRouting::OpenGroups TokenRouting::open_groups() const {
  const auto groups = static_cast<std::size_t>(router_.n_group);
  const auto keep = static_cast<std::size_t>(router_.topk_group);
  OpenGroups found{std::vector<bool>(groups, false), {}, keep};
  for (std::size_t g = 0; g < groups; ++g) {
    std::size_t surely_before = 0;
    std::size_t maybe_before = 0;
    for (std::size_t o = 0; o < groups; ++o) {
      if (o == g) continue;
      const bool tie = groups_tie(o, g);
      if (tie ? o < g : lower(group_scores_[g], group_scores_[o])) ++surely_before;
      if (tie ? o < g : !lower(group_scores_[o], group_scores_[g])) ++maybe_before;
    }
    if (maybe_before < keep) {
      found.sure[g] = true;
      --found.left;
    } else if (surely_before < keep) {
      found.open.push_back(g);
    }
  }
  return found;
}

std::vector<std::vector<bool>> TokenRouting::possible_groups() const {
  if (router_.n_group == 1) return {{true}};
  const OpenGroups groups = open_groups();
  // Nearly always few are: scores would have to agree to seven digits.
  constexpr std::size_t kMostOpen = 12;
  std::vector<std::vector<bool>> all;
  if (groups.open.size() > kMostOpen) return all;
  for (std::size_t pick = 0; pick < std::size_t{1} << groups.open.size(); ++pick) {
    if (static_cast<std::size_t>(__builtin_popcountll(pick)) != groups.left) continue;
    std::vector<bool> kept = groups.sure;
    for (std::size_t i = 0; i < groups.open.size(); ++i) {
      kept[groups.open[i]] = ((pick >> i) & 1) != 0;
    }
    all.push_back(std::move(kept));
  }
  return all;
}

// First those that hold what was chosen, then those that hold nothing better.
std::vector<bool> TokenRouting::likeliest_groups(std::span<const std::int32_t> ids) const {
  OpenGroups groups = open_groups();
  const std::size_t size = choice_.size() / groups.sure.size();
  const auto effort = [&](std::size_t group) {
    bool disturbs = false;
    for (std::size_t e = group * size; e < (group + 1) * size; ++e) {
      const auto member = static_cast<std::int32_t>(e);
      if (choice_[e].value == kNever) continue;
      if (std::find(ids.begin(), ids.end(), member) != ids.end()) return 0;
      disturbs = disturbs || std::any_of(ids.begin(), ids.end(),
                                         [&](std::int32_t id) { return !may_precede(id, member); });
    }
    return disturbs ? 2 : 1;
  };
  std::stable_sort(groups.open.begin(), groups.open.end(),
                   [&](std::size_t a, std::size_t b) { return effort(a) < effort(b); });
  std::vector<bool> kept = groups.sure;
  for (std::size_t i = 0; i < groups.left; ++i) kept[groups.open[i]] = true;
  return kept;
}

std::string TokenRouting::why_wrong_inside(std::span<const std::int32_t> ids,
                                           const std::vector<bool>& kept) const {
  const std::size_t size = choice_.size() / kept.size();
  const auto masked = [&](std::int32_t id) { return !kept[static_cast<std::size_t>(id) / size]; };
  // -inf is -inf, inside the kept groups or outside.
  const auto never = [&](std::int32_t id) {
    return masked(id) || choice_[static_cast<std::size_t>(id)].value == kNever;
  };
  const auto precedes = [&](std::int32_t a, std::int32_t b) {
    if (never(a) || never(b)) return never(a) == never(b) ? a < b : never(b);
    return may_precede(a, b);
  };
  std::vector<bool> chosen(choice_.size(), false);
  for (const std::int32_t id : ids) chosen[static_cast<std::size_t>(id)] = true;
  const auto complain = [&](std::int32_t before, std::int32_t after) {
    const auto show = [&](std::int32_t id) {
      return fmt::format("expert {} (score {:.9g}{})", id,
                         choice_[static_cast<std::size_t>(id)].value,
                         masked(id) ? ", in a group that is not kept" : "");
    };
    return fmt::format("{} stands before {}", show(before), show(after));
  };
  for (std::size_t slot = 0; slot < ids.size(); ++slot) {
    for (std::size_t later = slot + 1; later < ids.size(); ++later) {
      if (!precedes(ids[slot], ids[later])) return complain(ids[slot], ids[later]);
    }
    for (std::size_t e = 0; e < chosen.size(); ++e) {
      const auto other = static_cast<std::int32_t>(e);
      if (!chosen[e] && !precedes(ids[slot], other)) {
        return complain(ids[slot], other) + ", which was not chosen";
      }
    }
  }
  return {};
}

std::string TokenRouting::why_wrong(std::span<const std::int32_t> ids) const {
  std::vector<bool> seen(choice_.size(), false);
  for (const std::int32_t id : ids) {
    if (id < 0 || static_cast<std::size_t>(id) >= seen.size()) {
      return fmt::format("expert id {} is not in 0 … {}", id, seen.size() - 1);
    }
    if (seen[static_cast<std::size_t>(id)]) return fmt::format("expert {} is chosen twice", id);
    seen[static_cast<std::size_t>(id)] = true;
  }
  std::string first;
  std::vector<std::vector<bool>> sets = possible_groups();
  if (sets.empty()) sets.push_back(likeliest_groups(ids));
  for (const auto& kept : sets) {
    const std::string reason = why_wrong_inside(ids, kept);
    if (reason.empty()) return {};
    if (first.empty()) first = reason;
  }
  return first;
}

}  // namespace sluice::auditing
