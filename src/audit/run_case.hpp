// Running a case on a backend, with every buffer poisoned and fenced.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include <sluice/backend.hpp>

#include "audit/case.hpp"

namespace sluice::auditing {

struct RunResult {
  OwnedTensor output;   // [tokens, H]
  OwnedTensor ids;      // [tokens, K] i32; not given: not asked for
  OwnedTensor weights;  // [tokens, K] f32
  std::string error;    // what was thrown, if anything
  std::string memory;   // a fence that was overrun or an input that was changed, if any
  bool threw_at_load = false;
};

enum class Poison : std::uint8_t { nan, zero, ones };

// Which of the optional outputs a call asks for.
enum class Report : std::uint8_t { nothing, ids, weights, both };

struct RunOptions {
  LoadOptions load;
  Report report = Report::both;
  std::size_t spare_workspace = 0;     // bytes beyond those that are needed
  bool outputs_off_alignment = false;  // outputs lie at multiples of their elements alone
  Poison poison = Poison::nan;
  std::function<void()> before_call;  // of AuditOptions
};

// A loaded case that can be run again over the same, now dirty, memory.
class LoadedCase {
 public:
  // Never throws for what the backend does: see `error`.
  LoadedCase(const Backend& backend, const Case& subject, const RunOptions& options);
  ~LoadedCase();
  LoadedCase(LoadedCase&&) noexcept;

  // Fills output and workspace with `poison` first; no poison: the workspace stays as it was left.
  RunResult run(std::optional<Poison> poison);
  // Rows [first, end) of the case as a call of its own.
  RunResult run_rows(std::int64_t first, std::int64_t end);
  const Experts* experts() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// One loaded layer that several threads call, each with buffers of its own.
class SharedCase {
 public:
  SharedCase(const Backend& backend, const Case& subject, const RunOptions& options)
      : SharedCase(backend, subject.spec, subject.weights(), options) {}
  SharedCase(const Backend& backend, const MoeSpec& spec, const MoeWeights& weights,
             const RunOptions& options);
  RunResult run(const Case& tokens) const { return run(tokens, tokens.input()); }
  // Tokens of the case, but from elsewhere.
  RunResult run(const Case& tokens, const ForwardInput& input) const;

 private:
  RunOptions options_;
  std::unique_ptr<Experts> experts_;
  std::string error_;
};

RunResult run_loaded(const Experts& experts, const Case& subject, const RunOptions& options);

RunResult run_case(const Backend& backend, const Case& subject, const RunOptions& options = {});

// The case with tokens [first, end) only.
Case rows_of(const Case& subject, std::int64_t first, std::int64_t end);

}  // namespace sluice::auditing
