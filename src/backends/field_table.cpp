#include "backends/field_table.hpp"

#include <fmt/format.h>

#include <sluice/backend.hpp>

namespace sluice {

std::string field_table_markdown() {
  std::string table =
      "# Fields of a MoE layer, and who honours them\n\n"
      "Generated from the field registry and the backends' claims by `sluice fields "
      "--markdown`;\na test fails when this file is stale. A backend refuses, by name, every field "
      "that it does not claim\nand that is not neutral.\n\n| field | neutral | meaning |";
  std::string rule = "\n|---|---|---|";
  for (const Backend* backend : backends()) {
    table += fmt::format(" {} |", backend->name());
    rule += ":-:|";
  }
  table += rule + "\n";
  for (const Field& field : fields()) {
    table += fmt::format("| `{}` | {} | {} |", field.name, field.neutral, field.meaning);
    for (const Backend* backend : backends()) {
      table += backend->claims().contains(field.name) ? " yes |" : " refused |";
    }
    table += "\n";
  }
  return table;
}

}  // namespace sluice
