// A section of the GPU suite: one idea, which says in plain words what it found.
#pragma once

#include <fmt/format.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::gpu {

struct Settings {
  bool brief = false;      // a short list, for runs under compute-sanitizer
  std::int64_t cases = 0;  // of fuzzing; 0: the section's own number
  std::uint64_t seed = 1;
  int threads = 0;             // 0: one per core
  std::string suite = "full";  // of the audit
  // Layers are loaded with the permission to round slot outputs, and judged with the allowance.
  bool round_slot_outputs = false;
};

// What a section found. Safe from several threads.
class Findings {
 public:
  template <typename... Args>
  void expect(bool right, fmt::format_string<Args...> text, Args&&... args) {
    ++checks_;
    if (right) return;
    const std::lock_guard lock(mutex_);
    wrong_.push_back(fmt::format(text, std::forward<Args>(args)...));
  }
  // Runs what must throw an Error whose message has all of `parts`.
  void expect_error(std::string_view what, std::initializer_list<std::string_view> parts,
                    const std::function<void()>& action);
  template <typename... Args>
  void note(fmt::format_string<Args...> text, Args&&... args) {
    const std::lock_guard lock(mutex_);
    notes_.push_back(fmt::format(text, std::forward<Args>(args)...));
  }

  std::int64_t checks() const { return checks_; }
  const std::vector<std::string>& wrong() const { return wrong_; }
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  std::atomic<std::int64_t> checks_{0};
  std::mutex mutex_;
  std::vector<std::string> wrong_, notes_;
};

struct Section {
  std::string_view name;
  std::string_view meaning;
  void (*run)(const Settings&, Findings&);
};

void run_audit(const Settings& settings, Findings& findings);
void run_mutants(const Settings& settings, Findings& findings);
void run_rounding(const Settings& settings, Findings& findings);
void run_fuzz(const Settings& settings, Findings& findings);
void run_graphs(const Settings& settings, Findings& findings);
void run_token_counts(const Settings& settings, Findings& findings);
void run_router(const Settings& settings, Findings& findings);
void run_errors(const Settings& settings, Findings& findings);

}  // namespace sluice::gpu
