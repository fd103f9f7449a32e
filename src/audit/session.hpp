// One audit over cases that may be shared with other audits.
#pragma once

#include <sluice/audit.hpp>

#include "audit/case_bank.hpp"
#include "audit/faults/fault.hpp"

namespace sluice::auditing {

// Throws Error(user) for an unknown suite.
void check_options(const AuditOptions& options);

// `first_only`: stop at the first finding.
AuditReport run_session(const Backend& backend, const AuditOptions& options, CaseBank& bank,
                        bool first_only);

// One mutant of `inner`, whose cases `bank` holds: its class's suite, then the quick one.
MutantVerdict judge_mutant(const Backend& inner, const Mutant& mutant, const AuditOptions& options,
                           CaseBank& bank);

// Throws Error(unsupported) with the reason if the backend is not available here.
void require_available(const Backend& backend);

// Throws Error(user) with every reason if the backend refuses `spec`, called `what`.
void require_accepted(const Backend& backend, const MoeSpec& spec, std::string_view what);

// Throws Error(user) for a spec that the backend refuses.
SpecSource source_of(const Backend& backend, const AuditOptions& options);

// With an executor, so that it is made once and not per load.
AuditOptions with_executor(AuditOptions options);

}  // namespace sluice::auditing
