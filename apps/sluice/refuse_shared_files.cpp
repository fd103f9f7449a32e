#include "refuse_shared_files.hpp"

#include <CLI/CLI.hpp>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "base/fail.hpp"

namespace sluice::cli {
namespace {

namespace fs = std::filesystem;

struct Named {
  const char* option;
  std::string file;
};

std::vector<Named> given(const CLI::App& verb, std::initializer_list<const char*> options) {
  std::vector<Named> files;
  for (const char* option : options) {
    for (const std::string& file : verb.get_option(option)->results())
      files.push_back({option, file});
  }
  return files;
}

bool is_same_file(const std::string& one, const std::string& other) {
  if (one == "-" || other == "-") return one == other;
  std::error_code none;
  // Any number of results may go to /dev/null.
  const auto status = fs::status(one, none);
  if (fs::exists(status) && !fs::is_regular_file(status)) return false;
  const auto whole = [&](const std::string& path) {
    return fs::weakly_canonical(fs::absolute(path, none), none);
  };
  return fs::equivalent(one, other, none) || whole(one) == whole(other);
}

}  // namespace

void refuse_shared_files(const CLI::App& verb, std::initializer_list<const char*> results,
                         std::initializer_list<const char*> inputs) {
  const auto written = given(verb, results);
  for (std::size_t i = 0; i < written.size(); ++i) {
    for (std::size_t j = i + 1; j < written.size(); ++j) {
      if (!is_same_file(written[i].file, written[j].file)) continue;
      fail(ErrorKind::user, "{} and {} both name {}; give each its own", written[i].option,
           written[j].option, written[j].file);
    }
    for (const Named& input : given(verb, inputs)) {
      if (!is_same_file(written[i].file, input.file)) continue;
      fail(ErrorKind::user, "{} would write over {} {}; name another file", written[i].option,
           input.option, input.file);
    }
  }
}

}  // namespace sluice::cli
