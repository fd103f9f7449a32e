// Faults that write outside their buffers, where no fence shows it.
#pragma once

#include <string>

#include "audit/faults/overruns.hpp"
#include "base/fail.hpp"

namespace sluice::cli {

// `victim` shares its heap with the fault: nothing would be left to be trusted.
inline void refuse_overrun(const std::string& fault, const char* victim) {
  if (!auditing::writes_outside_its_buffers(fault)) return;
  fail(ErrorKind::user,
       "--inject {}: this fault writes outside its buffers and would damage {}; `sluice audit "
       "--inject {}` fences the buffers and shows it",
       fault, victim, fault);
}

}  // namespace sluice::cli
