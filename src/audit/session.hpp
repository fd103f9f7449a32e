// One audit over cases that may be shared with other audits.
#pragma once

#include <sluice/audit.hpp>

#include "audit/case_bank.hpp"

namespace sluice::auditing {

// Throws Error(user) for an unknown suite.
void check_options(const AuditOptions& options);

// `first_only`: stop at the first finding.
AuditReport run_session(const Backend& backend, const AuditOptions& options, CaseBank& bank,
                        bool first_only);

// Throws Error(user) for a spec that the backend refuses.
SpecSource source_of(const Backend& backend, const AuditOptions& options);

// With an executor, so that it is made once and not per load.
AuditOptions with_executor(AuditOptions options);

}  // namespace sluice::auditing
