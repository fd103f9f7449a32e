// From a finding to a failure that says which field, what it looks like, and how to see it again.
#pragma once

#include <optional>

#include "audit/checks/check.hpp"

namespace sluice::auditing {

// Does the case still fail?
using StillFails = std::function<std::optional<Finding>(const Case&)>;

class Diagnosis {
 public:
  Diagnosis(const Backend& backend, const AuditOptions& options, const RunOptions& run,
            const CompareOptions& how)
      : backend_(backend),
        options_(options),
        run_(run),
        how_(how),
        bound_{options.allowances.slot_outputs_rounded} {}

  AuditFailure explain(const Finding& finding) const;

 private:
  std::optional<Finding> try_case(const Case& subject, std::string_view check) const;

  const Backend& backend_;
  const AuditOptions& options_;
  RunOptions run_;
  CompareOptions how_;
  OracleOptions bound_;
};

// The smallest case found that still fails: fewer tokens, neutral fields, smaller sizes.
Finding shrink(const Finding& finding, const StillFails& still_fails, const Backend& backend);

// The one size that must be out of the ordinary for a layer like the finding's to fail; empty where
// there is none, or more than one.
std::string size_to_blame(const Finding& finding, const StillFails& still_fails,
                          const Backend& backend);

// A fault whose output on the finding's case is what the backend computed.
struct Match {
  std::string fault;       // "drop:router.routed_scaling_factor", or a mutant
  std::string looks_like;  // "behaves as if …"
  std::string field;
  char bug_class = '?';
};
std::optional<Match> match_fault(const Finding& finding, const RunOptions& run);

// Runs each expert of the worst token alone: if all are right, the fault is in combining them.
Stage locate_stage(const Finding& finding, const Backend& backend, const RunOptions& run,
                   const OracleOptions& bound);

struct Replay {
  std::vector<std::string> files;
  std::string command;
};
// Spec, weights and tokens as `sluice layer` reads them, and the command that does.
Replay write_replay(const Case& subject, const Backend& backend, const AuditOptions& options,
                    const std::string& stem);

// Gives fields at fault their verdict, unclaimed ones theirs.
void mark_fields(AuditReport& report);

}  // namespace sluice::auditing
