#include "refuse_beside.hpp"

#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <string>
#include <vector>

#include "base/fail.hpp"

namespace sluice::cli {
namespace {

// CLI11 keeps the options of a group in a subcommand without a name.
void add_given(const CLI::App& verb, std::vector<std::string>& names) {
  for (const CLI::Option* option : verb.get_options()) {
    if (option->count() > 0) names.push_back(option->get_name());
  }
  for (const CLI::App* group :
       verb.get_subcommands([](const CLI::App* part) { return part->get_name().empty(); })) {
    add_given(*group, names);
  }
}

}  // namespace

void refuse_beside(const CLI::App& verb, std::string_view mode,
                   std::initializer_list<std::string_view> used, std::string_view why) {
  std::vector<std::string> given;
  add_given(verb, given);
  if (std::find(given.begin(), given.end(), mode) == given.end()) return;
  std::erase_if(given, [&](const std::string& option) {
    return option == mode || std::find(used.begin(), used.end(), option) != used.end();
  });
  if (given.empty()) return;
  fail(ErrorKind::user, "{} {} nothing beside {}: {}; leave {} out", fmt::join(given, ", "),
       given.size() == 1 ? "does" : "do", mode, why, given.size() == 1 ? "it" : "them");
}

}  // namespace sluice::cli
