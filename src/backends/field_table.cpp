#include "backends/field_table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "spec/registry.hpp"

namespace sluice {
namespace {

// Whether the backend takes, in a layer that asks for nothing else, a choice's values one by one.
template <typename R>
std::string taken_values(const Backend& backend, const R& row) {
  if constexpr (std::is_enum_v<typename R::Value>) {
    constexpr auto& kNames = Choices<typename R::Value>::kNames;
    std::vector<std::string_view> taken;
    for (std::size_t i = 0; i < kNames.size(); ++i) {
      MoeSpec spec;
      spec.router.num_experts = 8;
      spec.router.top_k = 2;
      spec.experts.hidden_size = spec.experts.intermediate_size = 128;
      R::get(spec) = static_cast<typename R::Value>(i);
      const std::vector<Refusal> refusals = negotiate(backend, spec).refusals;
      if (std::none_of(refusals.begin(), refusals.end(),
                       [&](const Refusal& refusal) { return refusal.field == row.field.name; })) {
        taken.push_back(kNames[i]);
      }
    }
    if (taken.size() < kNames.size()) return fmt::format("{}", fmt::join(taken, ", "));
  }
  return "yes";
}

}  // namespace

std::string honours(const Backend& backend, const Field& field) {
  if (!backend.claims().contains(field.name)) return "refused";
  std::string answer;
  for_each_row([&](const auto& row) {
    if (row.field.name == field.name) answer = taken_values(backend, row);
  });
  return answer;
}

std::string field_table_markdown() {
  std::string table =
      "# Fields of a MoE layer, and who honours them\n\n"
      "Generated from the field registry and the backends' claims by `sluice fields "
      "--markdown`;\na test fails when this file is stale. A backend refuses, by name, every field "
      "that it does not claim\nand that is not neutral. Where values stand for a yes, it takes "
      "these and refuses the others.\n\n| field | neutral | meaning |";
  std::string rule = "\n|---|---|---|";
  for (const Backend* backend : backends()) {
    table += fmt::format(" {} |", backend->name());
    rule += ":-:|";
  }
  table += rule + "\n";
  for (const Field& field : fields()) {
    table += fmt::format("| `{}` | {} | {} |", field.name, field.neutral, field.meaning);
    for (const Backend* backend : backends()) {
      table += fmt::format(" {} |", honours(*backend, field));
    }
    table += "\n";
  }
  return table;
}

}  // namespace sluice
