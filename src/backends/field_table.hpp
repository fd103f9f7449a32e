// docs/fields.md: every field of the registry and which backends claim it, as Markdown.
#pragma once

#include <string>

#include <sluice/backend.hpp>

namespace sluice {

// "yes", "refused", or the values that the backend takes of a choice that it claims and does not
// take whole: "bf16, f32, f16".
std::string honours(const Backend& backend, const Field& field);

std::string field_table_markdown();

}  // namespace sluice
