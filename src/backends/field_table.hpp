// docs/fields.md: every field of the registry and which backends claim it, as Markdown.
#pragma once

#include <string>

namespace sluice {

std::string field_table_markdown();

}  // namespace sluice
