// The same case under another spec: tensors keep their values where both specs have them.
#pragma once

#include <optional>

#include "audit/case.hpp"

namespace sluice::auditing {

// With the field at its neutral value, and whatever leans on it settled (as drop:FIELD does).
// nullopt when the result is no valid case.
std::optional<Case> without_field(const Case& subject, const Field& field);

// As above for any edit of a fault's load hook.
struct Load;
Case from_load(const Case& subject, const Load& load);

}  // namespace sluice::auditing
