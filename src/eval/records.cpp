#include "eval/records.hpp"

#include <fcntl.h>
#include <fmt/ranges.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <utility>

#include "base/fail.hpp"
#include "base/strict_json.hpp"
#include "eval/metered_model.hpp"
#include "eval/record_json.hpp"

namespace sluice {
namespace {

using Json = nlohmann::ordered_json;
constexpr int kVersion = 1;
constexpr std::string_view kFirstWords = "{\"sluice_eval\"";  // of a file of ours

std::string dump_line(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

[[noreturn]] void fail_errno(const std::string& action, const std::string& path) {
  fail(ErrorKind::user, "cannot {} {}: {}", action, path, std::strerror(errno));
}

std::string read_all(int file, const std::string& path) {
  std::string text;
  char buffer[1 << 16];
  for (;;) {
    const ssize_t got = ::read(file, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_errno("read", path);
    if (got == 0) return text;
    text.append(buffer, static_cast<std::size_t>(got));
  }
}

// "batch: 16 in the records, 8 now"
std::string differences(const nlohmann::json& recorded, const nlohmann::json& now) {
  std::set<std::string> keys;
  for (const auto& [key, value] : recorded.items()) keys.insert(key);
  for (const auto& [key, value] : now.items()) keys.insert(key);
  std::vector<std::string> lines;
  const auto shown = [](const nlohmann::json& json, const std::string& key) {
    return json.contains(key) ? json.at(key).dump() : std::string("nothing");
  };
  for (const std::string& key : keys) {
    if (shown(recorded, key) == shown(now, key)) continue;
    lines.push_back(
        fmt::format("{}: {} in the records, {} now", key, shown(recorded, key), shown(now, key)));
  }
  return fmt::format("{}", fmt::join(lines, "; "));
}

}  // namespace

EvalRecords::EvalRecords(const std::string& path, const std::string& settings,
                         std::vector<std::string> subjects, std::size_t problems, bool resume)
    : path_(path), subjects_(std::move(subjects)), problems_(problems), times_(subjects_.size()) {
  open(resume);
  // A fresh run has nothing to read, and some devices never end.
  const std::string text = resume ? read_all(file_.descriptor, path_) : "";
  const std::size_t lines = text.empty() ? 0 : read(text, settings);
  if (lines == 0) {
    write(dump_line({{"sluice_eval", kVersion}, {"settings", Json::parse(settings)}}));
  }
}

EvalRecords::File::~File() {
  if (descriptor >= 0) close(descriptor);
}

void EvalRecords::open(bool resume) {
  open_locked();
  struct stat status {};
  if (fstat(file_.descriptor, &status) != 0) fail_errno("read", path_);
  if (resume && !S_ISREG(status.st_mode)) {
    fail(ErrorKind::user,
         "{} is not a regular file, so nothing can be resumed from it; name the "
         "file that holds the records",
         path_);
  }
  if (resume || !S_ISREG(status.st_mode) || status.st_size == 0) return;
  move_aside();
  open_locked();
}

// Locked before it is moved: what another evaluation is writing stays where it is.
void EvalRecords::open_locked() {
  if (file_.descriptor >= 0) close(std::exchange(file_.descriptor, -1));
  file_.descriptor = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (file_.descriptor < 0) fail_errno("write", path_);
  if (flock(file_.descriptor, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) fail_errno("lock", path_);
    fail(ErrorKind::user, "another evaluation is writing {}; give this one its own records", path_);
  }
}

// To the first free name of PATH.old, PATH.old.2, …: records are hours of work.
void EvalRecords::move_aside() const {
  struct stat taken {};
  std::string aside = path_ + ".old";
  for (int number = 2; lstat(aside.c_str(), &taken) == 0; ++number) {
    aside = fmt::format("{}.old.{}", path_, number);
  }
  if (std::rename(path_.c_str(), aside.c_str()) != 0) fail_errno("move", path_);
}

void EvalRecords::fail_not_records() const {
  fail(ErrorKind::user, "{} does not hold records of an evaluation; name another file", path_);
}

std::size_t EvalRecords::read(const std::string& text, const std::string& settings) {
  // What follows the last line feed was being written when the run stopped.
  const std::size_t whole = text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1;
  const std::string_view begun = std::string_view(text).substr(0, kFirstWords.size());
  if (whole == 0 && !kFirstWords.starts_with(begun)) fail_not_records();
  std::int64_t number = 0;
  for (std::size_t begin = 0; begin < whole;) {
    const std::size_t end = text.find('\n', begin);
    const std::string line = text.substr(begin, end - begin);
    begin = end + 1;
    if (++number > 1) {
      read_line(number, line);
      continue;
    }
    if (!line.starts_with(kFirstWords)) fail_not_records();
    // Comparing and printing recurse; the records may be a stranger's.
    const auto header = parse_json_object(line, path_ + ", line 1", ErrorKind::user);
    const auto version = header.find("sluice_eval");
    if (!header.contains("settings") || !version->is_number() || *version != kVersion) {
      fail_not_records();
    }
    const auto now = nlohmann::json::parse(settings);
    if (header.at("settings") != now) {
      fail(ErrorKind::user, "{} holds records of another evaluation ({}); name another file", path_,
           differences(header.at("settings"), now));
    }
  }
  if (ftruncate(file_.descriptor, static_cast<off_t>(whole)) != 0) fail_errno("truncate", path_);
  if (lseek(file_.descriptor, 0, SEEK_END) < 0) fail_errno("seek in", path_);
  return static_cast<std::size_t>(number);
}

void EvalRecords::read_line(std::int64_t number, const std::string& line) {
  try {
    // Not Json: an ordered object looks through all its keys for each new one.
    const auto json = nlohmann::json::parse(line);
    const std::size_t subject = subject_index(number, json.at("subject").get<std::string>());
    if (json.contains("times")) {
      accumulate(times_[subject], times_from_json(json.at("times")));
    } else {
      const auto& problem = json.at("problem");
      if (!problem.is_number_unsigned()) fail_damaged(number);
      answers_[problem_index(number, problem.get<std::size_t>())][subject] = answer_from_json(json);
    }
  } catch (const nlohmann::json::exception&) {
    fail_damaged(number);
  } catch (const std::invalid_argument&) {
    fail_damaged(number);
  }
}

void EvalRecords::fail_damaged(std::int64_t line) const {
  fail(ErrorKind::user, "{}, line {}: damaged record; name another file", path_, line);
}

// Settings that are the same do not vouch for every line.
std::size_t EvalRecords::problem_index(std::int64_t number, std::size_t problem) const {
  if (problem < problems_) return problem;
  fail(ErrorKind::user,
       "{}, line {}: a record of problem {} (counted from 0), and there are {} problems; name "
       "another file",
       path_, number, problem, problems_);
}

std::size_t EvalRecords::subject_index(std::int64_t number, const std::string& name) const {
  const auto found = std::find(subjects_.begin(), subjects_.end(), name);
  if (found == subjects_.end()) {
    fail(ErrorKind::user, "{}, line {}: a record of \"{}\", which is not evaluated", path_, number,
         name);
  }
  return static_cast<std::size_t>(found - subjects_.begin());
}

std::optional<std::vector<EvalAnswer>> EvalRecords::find(std::size_t problem) const {
  const auto found = answers_.find(problem);
  if (found == answers_.end() || found->second.size() != subjects_.size()) return std::nullopt;
  std::vector<EvalAnswer> answers;
  for (const auto& [subject, answer] : found->second) answers.push_back(answer);
  return answers;
}

void EvalRecords::append(std::span<const std::size_t> problems,
                         std::span<const std::vector<EvalAnswer>> answers,
                         std::span<const EvalTimes> times) {
  std::string text;
  // The times first: cut behind the answers, the batch would count and its times be lost for good.
  // Cut within the answers, what is missing is done again and timed again, which rates survive.
  for (std::size_t s = 0; s < subjects_.size(); ++s) {
    text += dump_line({{"subject", subjects_[s]}, {"times", to_json(times[s])}});
  }
  for (std::size_t i = 0; i < problems.size(); ++i) {
    for (std::size_t s = 0; s < subjects_.size(); ++s) {
      Json line{{"problem", problems[i]}, {"subject", subjects_[s]}};
      line.update(to_json(answers[i][s]));
      text += dump_line(line);
    }
  }
  write(text);
}

void EvalRecords::write(const std::string& text) {
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t written = ::write(file_.descriptor, text.data() + done, text.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail_errno("write", path_);
    done += static_cast<std::size_t>(written);
  }
  if (fsync(file_.descriptor) != 0 && errno != EINVAL) fail_errno("sync", path_);
}

}  // namespace sluice
