#include <cerrno>
#include <cstring>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <sluice/eval.hpp>

#include "base/fail.hpp"
#include "base/strict_json.hpp"

namespace sluice {
namespace {

using Json = nlohmann::json;

// A solved problem takes a few kilobytes; a line that never ends must not take the memory.
constexpr std::size_t kLongestLine = std::size_t{16} << 20;

struct Line {
  const std::string& path;
  std::int64_t number;
  const std::string& text;

  template <typename... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    fail(ErrorKind::user, "{}, line {}: {}", path, number,
         fmt::format(format, std::forward<Args>(args)...));
  }

  Json object() const {
    Json json = Json::parse(text, nullptr, false);
    if (json.is_discarded()) refuse("not JSON; each line must be one JSON object");
    if (!json.is_object()) refuse("not a JSON object but {}", json.type_name());
    return parse_json_object(text, fmt::format("{}, line {}", path, number), ErrorKind::user);
  }

  std::string string(const Json& object, const char* key) const {
    const auto found = object.find(key);
    if (found == object.end()) refuse("no \"{}\"", key);
    if (!found->is_string()) refuse("\"{}\" is {}, it must be a string", key, found->type_name());
    return found->get<std::string>();
  }

  std::string answer(const Json& object) const {
    std::string text = string(object, "answer");
    if (text.find_first_of("0123456789") == std::string::npos) {
      refuse("\"answer\" holds no number; it must end in \"#### 42\" or be the number");
    }
    return text;
  }
};

// Past the next line feed; false at the end of the file. Not std::getline: of a line that never
// ends it would take everything before its length is seen.
bool read_line(std::ifstream& file, std::string& text) {
  text.clear();
  for (char letter = 0; text.size() <= kLongestLine && file.get(letter);) {
    if (letter == '\n') return true;
    text.push_back(letter);
  }
  return !text.empty();
}

// Calls `take` for every line that is not blank until it returns false.
void for_each_line(const std::string& path, const std::function<bool(const Line&)>& take) {
  std::ifstream file(path, std::ios::binary);
  if (!file) fail(ErrorKind::user, "cannot read {}: {}", path, std::strerror(errno));
  std::string text;
  for (std::int64_t number = 1; read_line(file, text); ++number) {
    const Line line{path, number, text};
    if (text.size() > kLongestLine) line.refuse("longer than {} bytes", kLongestLine);
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    if (!take(line)) return;
  }
  if (file.bad()) fail(ErrorKind::user, "cannot read {}: {}", path, std::strerror(errno));
}

}  // namespace

std::vector<Problem> read_problems(const std::string& path, std::int64_t limit) {
  std::vector<Problem> problems;
  if (limit <= 0) return problems;
  for_each_line(path, [&](const Line& line) {
    const Json object = line.object();
    problems.push_back({line.string(object, "question"), line.answer(object)});
    return std::ssize(problems) < limit;
  });
  if (problems.empty()) fail(ErrorKind::user, "{} holds no problems", path);
  return problems;
}

std::vector<JudgedCompletion> read_completions(const std::string& path) {
  std::vector<JudgedCompletion> completions;
  for_each_line(path, [&](const Line& line) {
    const Json object = line.object();
    completions.push_back({line.answer(object), line.string(object, "completion")});
    return true;
  });
  if (completions.empty()) fail(ErrorKind::user, "{} holds no completions", path);
  return completions;
}

}  // namespace sluice
