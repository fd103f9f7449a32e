// sluice fields: everything a spec can say, who honours it, and the names that users know.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <sluice/backend.hpp>
#include <sluice/presets.hpp>

#include "backends/field_table.hpp"
#include "output/table.hpp"
#include "verb.hpp"

namespace sluice::cli {
namespace {

constexpr const char* kFooter =
    R"(A backend refuses, by name, every field that it does not claim and that is not neutral.

Examples:
  sluice fields                                fields, neutral values, and the backends' claims
  sluice fields --methods                      routing methods for "routing_method" in a spec
  sluice fields --families                     released models, as specs
  sluice fields --family kimi-linear-48b-a3b   one of them, ready for --spec
  sluice fields --markdown > docs/fields.md    the table of the documentation)";

struct Options {
  bool markdown = false;
  bool methods = false;
  bool families = false;
  std::string family;
};

std::string field_text() {
  std::vector<Column> columns{{"field"}, {"neutral"}};
  for (const Backend* backend : backends()) columns.push_back({std::string(backend->name())});
  columns.push_back({"meaning"});
  Table table(columns);
  for (const Field& field : fields()) {
    std::vector<std::string> row{std::string(field.name), std::string(field.neutral)};
    for (const Backend* backend : backends()) {
      row.push_back(honours(*backend, field));
    }
    row.emplace_back(field.meaning);
    table.add(row);
  }
  return table.text();
}

std::string method_text() {
  Table table({{"method"}, {"formula"}});
  for (const RoutingMethod& method : routing_methods()) {
    table.add({std::string(method.name), std::string(method.formula)});
  }
  return table.text();
}

std::string family_text() {
  Table table({{"family"}, {"model and routing"}});
  for (const Family& family : families()) {
    table.add({std::string(family.name), std::string(family.meaning)});
  }
  return table.text();
}

int run_fields(const Options& options) {
  fmt::print("{}", !options.family.empty() ? print_spec(family(options.family).spec)
                   : options.methods       ? method_text()
                   : options.families      ? family_text()
                   : options.markdown      ? field_table_markdown()
                                           : field_text());
  return kOk;
}

}  // namespace

Run declare_fields(CLI::App& app) {
  auto options = std::make_shared<Options>();
  auto* what = app.add_option_group("what", "at most one of");
  what->add_flag("--markdown", options->markdown, "The table of fields as docs/fields.md has it");
  what->add_flag("--methods", options->methods, "The named routing methods");
  what->add_flag("--families", options->families, "The known model families");
  what->add_option("--family", options->family, "The spec of one family, as JSON");
  what->require_option(0, 1);
  app.footer(kFooter);
  return [options] { return run_fields(*options); };
}

}  // namespace sluice::cli
