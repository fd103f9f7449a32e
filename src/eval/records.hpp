// The records of an evaluation: JSON lines that survive an interruption.
//
//   {"sluice_eval": 1, "settings": {…}}                            the first line
//   {"subject": "cpu", "times": {…}}                               one per subject and batch, then
//   {"problem": 7, "subject": "cpu", "completion": "…", …}         its answers
#pragma once

#include <map>
#include <optional>
#include <sluice/eval.hpp>
#include <string>
#include <vector>

namespace sluice {

class EvalRecords {
 public:
  // Creates the file, moving an older one to PATH.old (or PATH.old.2, …); or, to resume, reads it
  // and continues behind its last whole line. Throws Error(user) for records of other settings,
  // damaged lines (by number), problems beyond the `problems` of this evaluation, and a file that
  // another process writes.
  EvalRecords(const std::string& path, const std::string& settings,
              std::vector<std::string> subjects, std::size_t problems, bool resume);

  // One answer per subject, if all of them are recorded.
  std::optional<std::vector<EvalAnswer>> find(std::size_t problem) const;
  const std::vector<EvalTimes>& times() const { return times_; }  // per subject, as recorded

  // Appends a batch and syncs the file. answers: [problem][subject].
  void append(std::span<const std::size_t> problems,
              std::span<const std::vector<EvalAnswer>> answers, std::span<const EvalTimes> times);

 private:
  struct File {
    File() = default;
    ~File();
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    int descriptor = -1;
  };

  void open(bool resume);
  void open_locked();
  void move_aside() const;
  // How many whole lines there were.
  std::size_t read(const std::string& text, const std::string& settings);
  void read_line(std::int64_t number, const std::string& line);
  std::size_t problem_index(std::int64_t number, std::size_t problem) const;
  std::size_t subject_index(std::int64_t number, const std::string& name) const;
  [[noreturn]] void fail_not_records() const;
  [[noreturn]] void fail_damaged(std::int64_t line) const;
  void write(const std::string& text);

  std::string path_;
  std::vector<std::string> subjects_;
  std::size_t problems_;
  File file_;
  std::map<std::size_t, std::map<std::size_t, EvalAnswer>> answers_;  // [problem][subject]
  std::vector<EvalTimes> times_;
};

}  // namespace sluice
